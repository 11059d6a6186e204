#include "net/socket.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int bind_inet(int fd, const struct address *a, int family, bool ipv6_only)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} name = {.any.sa_family = (sa_family_t)family};
	socklen_t len = family == AF_INET ? sizeof(name.v4) : sizeof(name.v6);
	int err;

	if (family == AF_INET) {
		name.v4.sin_port = htons((uint16_t)a->port);
		if (a->host[0] && inet_pton(AF_INET, a->host, &name.v4.sin_addr) != 1)
			return -EINVAL;
	} else {
		name.v6.sin6_port = htons((uint16_t)a->port);
		name.v6.sin6_addr = in6addr_any;
		if (a->host[0] && inet_pton(AF_INET6, a->host, &name.v6.sin6_addr) != 1)
			return -EINVAL;
		err = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, ipv6_only);
		if (err)
			return err;
	}
	err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!err && bind(fd, &name.any, len) < 0)
		err = -errno;
	return err;
}

static int open_directory(const char *path, struct socket_file *f)
{
	const char *slash = strrchr(path, '/');
	char dir[ADDRESS_PATH_MAX];

	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	snprintf(f->name, sizeof(f->name), "%s", slash + 1);
	f->dir = open(dir[0] ? dir : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return f->dir < 0 ? -errno : 0;
}

/* A path longer than sun_path is bound through its directory. */
static int unix_name(const char *path, const struct socket_file *f, struct sockaddr_un *ret)
{
	int n;

	ret->sun_family = AF_UNIX;
	if (strlen(path) < sizeof(ret->sun_path)) {
		strcpy(ret->sun_path, path);
		return 0;
	}
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", f->dir, f->name);
	return n < (int)sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

static int bind_unix(int fd, const struct address *a, struct socket_file *f)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct stat st;
	int err = open_directory(a->path, f);

	if (err)
		return err;
	err = unix_name(a->path, f, &name);
	if (!err && bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		err = -errno;
	if (!err && fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		err = -errno;
	if (err) {
		fd_close(&f->dir);
		return err;
	}
	f->device = st.st_dev;
	f->inode = st.st_ino;
	return 0;
}

void socket_remove_file(struct socket_file *f)
{
	struct stat st;

	if (f->dir < 0)
		return;
	if (fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == f->device &&
	    st.st_ino == f->inode)
		unlinkat(f->dir, f->name, 0);
	fd_close(&f->dir);
}

static int listen_in_family(const struct address *a, int family, bool ipv6_only, int backlog,
			    struct socket_file *file, int *ret)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = family == AF_UNIX ? bind_unix(fd, a, file) : bind_inet(fd, a, family, ipv6_only);
	if (!err && listen(fd, backlog > 0 ? backlog : SOCKET_BACKLOG) < 0)
		err = -errno;
	if (err) {
		socket_remove_file(file);
		fd_close(&fd);
	} else {
		*ret = fd;
	}
	return err;
}

static void bound_address(int fd, const struct address *asked, struct address *ret)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);

	*ret = *asked;
	if (asked->kind == ADDRESS_TCP && getsockname(fd, (struct sockaddr *)&name, &len) == 0)
		address_from_socket(&name, len, ret);
}

int socket_listen(const struct address *a, bool ipv6_only, int backlog, struct address *ret_bound,
		  struct socket_file *ret_file)
{
	int fd = -1, err;

	ret_file->dir = -1;
	if (a->family == AF_UNSPEC) {
		err = listen_in_family(a, AF_INET6, ipv6_only, backlog, ret_file, &fd);
		if ((err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL || err == -EINVAL) && !ipv6_only)
			err = listen_in_family(a, AF_INET, false, backlog, ret_file, &fd);
	} else {
		err = listen_in_family(a, a->family, ipv6_only, backlog, ret_file, &fd);
	}
	if (err)
		return err;
	bound_address(fd, a, ret_bound);
	return fd;
}
