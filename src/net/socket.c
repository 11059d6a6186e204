#include "net/socket.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
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

/* A path longer than sun_path is bound through its open directory. */
static int bind_long_path(int fd, const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	char copy[ADDRESS_PATH_MAX], *slash;
	int dir, n, err = 0;

	snprintf(copy, sizeof(copy), "%s", path);
	slash = strrchr(copy, '/');
	*slash = '\0';
	dir = open(copy, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	n = snprintf(name.sun_path, sizeof(name.sun_path), "/proc/self/fd/%d/%s", dir, slash + 1);
	if (n >= (int)sizeof(name.sun_path))
		err = -ENAMETOOLONG;
	else if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		err = -errno;
	close(dir);
	return err;
}

static int bind_unix(int fd, const struct address *a)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	size_t len = strlen(a->path);

	if (len >= sizeof(name.sun_path))
		return bind_long_path(fd, a->path);
	memcpy(name.sun_path, a->path, len + 1);
	return bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 ? -errno : 0;
}

static int listen_in_family(const struct address *a, int family, bool ipv6_only, int backlog, int *ret)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = family == AF_UNIX ? bind_unix(fd, a) : bind_inet(fd, a, family, ipv6_only);
	if (!err && listen(fd, backlog > 0 ? backlog : SOCKET_BACKLOG) < 0)
		err = -errno;
	if (err)
		fd_close(&fd);
	else
		*ret = fd;
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

int socket_listen(const struct address *a, bool ipv6_only, int backlog, struct address *ret_bound)
{
	int fd = -1, err;

	if (a->family == AF_UNSPEC) {
		err = listen_in_family(a, AF_INET6, ipv6_only, backlog, &fd);
		if ((err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL || err == -EINVAL) && !ipv6_only)
			err = listen_in_family(a, AF_INET, false, backlog, &fd);
	} else {
		err = listen_in_family(a, a->family, ipv6_only, backlog, &fd);
	}
	if (err)
		return err;
	bound_address(fd, a, ret_bound);
	return fd;
}
