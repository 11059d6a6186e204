#include "admin/runtime.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 };

static void choose_path(struct runtime *rt)
{
	const char *home = getenv("UMBEL_HOME");
	const struct passwd *user;

	if (home && *home) {
		snprintf(rt->path, sizeof(rt->path), "%s", home);
	} else if (geteuid() == 0) {
		snprintf(rt->path, sizeof(rt->path), "/run/umbel");
	} else {
		user = getpwuid(geteuid());
		snprintf(rt->path, sizeof(rt->path), "%s/.umbel", user ? user->pw_dir : "");
	}
}

int runtime_open(struct runtime *rt, bool create)
{
	struct stat st;
	int err = 0;

	choose_path(rt);
	rt->dir = -1;
	if (create && mkdir(rt->path, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST)
		return -errno;
	rt->dir = open(rt->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (rt->dir < 0)
		return -errno;
	if (fstat(rt->dir, &st) < 0)
		err = -errno;
	else if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		err = -EPERM;
	else if (create && faccessat(rt->dir, ".", W_OK, AT_EACCESS) < 0)
		err = -errno;
	if (err)
		fd_close(&rt->dir);
	return err;
}

void runtime_close(struct runtime *rt)
{
	fd_close(&rt->dir);
}

static void file_name(char *out, size_t size, const char *name, const char *ending)
{
	snprintf(out, size, "%s%s", name, ending);
}

int runtime_lock(const struct runtime *rt, const char *name)
{
	char file[NAME_MAX];
	struct stat ours, there;
	int fd, err;

	file_name(file, sizeof(file), name, ".lock");
	for (;;) {
		fd = openat(rt->dir, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			err = -errno;
			close(fd);
			return err;
		}
		/* The one before us may have removed it between our open and our lock. */
		if (fstat(fd, &ours) == 0 && fstatat(rt->dir, file, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
		    ours.st_ino == there.st_ino)
			return fd;
		close(fd);
	}
}

void runtime_unlock(const struct runtime *rt, const char *name, int *lock)
{
	char file[NAME_MAX];

	if (*lock < 0)
		return;
	file_name(file, sizeof(file), name, ".lock");
	unlinkat(rt->dir, file, 0);
	fd_close(lock);
}

/* bind(2) and connect(2) know no directory descriptor: through /proc the path is short, too. */
static void socket_name(const struct runtime *rt, const char *name, struct sockaddr_un *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s.sock", rt->dir, name);
}

int runtime_listen(const struct runtime *rt, const char *name)
{
	struct sockaddr_un address;
	mode_t mask;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

	if (fd < 0)
		return -errno;
	runtime_remove_socket(rt, name); /* we hold the lock: it is a dead one's */
	socket_name(rt, name, &address);
	mask = umask(077);
	err = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (!err && listen(fd, BACKLOG) < 0)
		err = -errno;
	if (err)
		fd_close(&fd);
	return err ? err : fd;
}

int runtime_connect(const struct runtime *rt, const char *name)
{
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	socket_name(rt, name, &address);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	/* A socket that nobody listens on is left from one that was killed. */
	err = errno == ECONNREFUSED ? -ENOENT : -errno;
	close(fd);
	return err;
}

void runtime_remove_socket(const struct runtime *rt, const char *name)
{
	char file[NAME_MAX];

	file_name(file, sizeof(file), name, ".sock");
	unlinkat(rt->dir, file, 0);
}

bool runtime_has_socket(const struct runtime *rt, const char *name)
{
	char file[NAME_MAX];

	file_name(file, sizeof(file), name, ".sock");
	return faccessat(rt->dir, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int is_socket(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && dot != entry->d_name && strcmp(dot, ".sock") == 0;
}

int runtime_each(const struct runtime *rt, runtime_visit *f, void *data)
{
	struct dirent **entries;
	int count = scandirat(rt->dir, ".", &entries, is_socket, alphasort);

	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		*strrchr(entries[i]->d_name, '.') = '\0';
		f(entries[i]->d_name, data);
		free(entries[i]);
	}
	free(entries);
	return 0;
}
