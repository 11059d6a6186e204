#include "net/owner.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int find_user(const char *name, uid_t *ret)
{
	char buffer[4096], *end;
	struct passwd entry, *found = NULL;

	*ret = (uid_t)strtoul(name, &end, 10);
	if (*name && !*end)
		return 0;
	getpwnam_r(name, &entry, buffer, sizeof(buffer), &found);
	if (!found)
		return -ENOENT;
	*ret = found->pw_uid;
	return 0;
}

static int find_group(const char *name, gid_t *ret)
{
	char buffer[4096], *end;
	struct group entry, *found = NULL;

	*ret = (gid_t)strtoul(name, &end, 10);
	if (*name && !*end)
		return 0;
	getgrnam_r(name, &entry, buffer, sizeof(buffer), &found);
	if (!found)
		return -ENOENT;
	*ret = found->gr_gid;
	return 0;
}

int owner_find(const char *text, uid_t *ret_uid, gid_t *ret_gid)
{
	char user[ADDRESS_OWNER_MAX];
	const char *colon = strchr(text, ':');
	int err = 0;

	*ret_uid = (uid_t)-1;
	*ret_gid = (gid_t)-1;
	snprintf(user, sizeof(user), "%.*s", colon ? (int)(colon - text) : (int)sizeof(user) - 1, text);
	if (user[0])
		err = find_user(user, ret_uid);
	if (!err && colon && colon[1])
		err = find_group(colon + 1, ret_gid);
	return err;
}

static int set_mode(int fd, mode_t mode)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* fchmod(2) refuses O_PATH */
	return chmod(path, mode) < 0 ? -errno : 0;
}

int owner_set(int dir, const char *name, const struct address_options *options, mode_t more)
{
	struct stat st;
	int fd, err = 0;
	uid_t uid;
	gid_t gid;

	if (!options->mode && !more && !options->owner[0])
		return 0;
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		err = -ENOTSOCK;
	if (!err && options->owner[0])
		err = owner_find(options->owner, &uid, &gid);
	if (!err && options->owner[0] && fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		err = -errno;
	if (!err && (options->mode || more))
		err = set_mode(fd, (options->mode ? (mode_t)options->mode : st.st_mode & 07777) | more);
	fd_close(&fd);
	return err;
}
