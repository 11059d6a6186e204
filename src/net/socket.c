#include "net/socket.h"

#include "base/fd.h"
#include "net/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

union inet_name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Of link-local addresses bind(2) itself ties the socket to the interface. */
static int name_inet(int fd, const struct address *a, int family, union inet_name *ret)
{
	char host[ADDRESS_HOST_MAX], *interface;
	unsigned index = 0;
	int err;

	memcpy(host, a->host, sizeof(host));
	interface = strchr(host, '%');
	if (interface)
		*interface++ = '\0';
	if (interface && (index = if_nametoindex(interface)) == 0)
		return -errno;
	if (family == AF_INET)
		err = uv_ip4_addr(host[0] ? host : "0.0.0.0", a->port, &ret->v4);
	else
		err = uv_ip6_addr(host[0] ? host : "::", a->port, &ret->v6);
	if (!err && family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&ret->v6.sin6_addr))
		ret->v6.sin6_scope_id = index;
	else if (!err && index)
		err = set_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX, (int)index);
	return err;
}

static int bind_inet(int fd, const struct socket_wish *wish, int family, bool is_side)
{
	const struct address *a = &wish->address;
	union inet_name name;
	socklen_t len = family == AF_INET ? sizeof(name.v4) : sizeof(name.v6);
	int err = name_inet(fd, a, family, &name);

	if (!err && family == AF_INET6)
		err = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, wish->ipv6_only || a->options.ipv6_only);
	if (!err && wish->is_free)
		err = set_option(fd, IPPROTO_IP, IP_FREEBIND, 1);
	/* For tcp it means: in spite of connections in TIME_WAIT (socket(7)). */
	if (!err && (a->kind == ADDRESS_TCP || wish->reuse_address))
		err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!err && is_side)
		err = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (!err && bind(fd, &name.any, len) < 0)
		err = -errno;
	/* Of a door only now: a port that somebody has, also another of our own apps, is EADDRINUSE. If it only binds, then
	 * not before it listens, which asks once more: others may be bound beside it by SO_REUSEADDR. */
	if (!err && wish->is_door && !is_side && !wish->is_bound_only)
		err = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	return err;
}

static int bind_abstract(int fd, const struct socket_wish *wish)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	size_t len = strlen(wish->address.path);

	if (len > sizeof(name.sun_path))
		return -ENAMETOOLONG;
	memcpy(name.sun_path + 1, wish->address.path + 1, len - 1); /* a NUL for the @ */
	if (wish->is_padded)
		len = sizeof(name.sun_path);
	len += offsetof(struct sockaddr_un, sun_path);
	return bind(fd, (struct sockaddr *)&name, (socklen_t)len) < 0 ? -errno : 0;
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

/* A socket's file that nobody listens at any more: its server was killed. False: somebody does, or it is no
 * socket. */
static bool remove_stale(const struct sockaddr_un *name, const struct socket_file *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool refused;
	struct stat st;

	if (fd < 0)
		return false;
	refused = connect(fd, (const struct sockaddr *)name, sizeof(*name)) < 0 && errno == ECONNREFUSED;
	fd_close(&fd);
	return refused && fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode) &&
	       unlinkat(f->dir, f->name, 0) == 0;
}

static int bind_unix(int fd, const struct socket_wish *wish, struct socket_file *f)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct stat st;
	int err = open_directory(wish->address.path, f);
	bool bound;

	if (err)
		return err;
	err = unix_name(wish->address.path, f, &name);
	if (!err && bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		err = -errno;
	if (err == -EADDRINUSE && remove_stale(&name, f))
		err = bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 ? -errno : 0;
	bound = !err;
	if (!err && fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		err = -errno;
	if (!err)
		err = owner_set(f->dir, f->name, &wish->address.options, wish->more_mode);
	if (err) {
		if (bound)
			unlinkat(f->dir, f->name, 0);
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

static int bind_it(int fd, const struct socket_wish *wish, int family, struct socket_file *file)
{
	if (family != AF_UNIX)
		return bind_inet(fd, wish, family, false);
	return address_is_abstract(&wish->address) ? bind_abstract(fd, wish) : bind_unix(fd, wish, file);
}

static int listen_with(int fd, const struct socket_wish *wish)
{
	int backlog = wish->address.options.backlog ? wish->address.options.backlog : wish->backlog;

	return listen(fd, backlog > 0 ? backlog : SOCKET_BACKLOG) < 0 ? -errno : 0;
}

static int set_tcp_options(int fd, const struct address_options *o)
{
	int err = 0;

	if (o->defer_accept)
		err = set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, o->defer_accept);
	if (!err && o->fast_open)
		err = set_option(fd, IPPROTO_TCP, TCP_FASTOPEN, o->fast_open);
	return err;
}

void socket_add_interface(int fd, struct address *a)
{
	int index = 0;
	socklen_t size = sizeof(index);

	if (a->kind != ADDRESS_UNIX && getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &index, &size) == 0 && index > 0)
		address_set_interface(a, (unsigned)index);
}

int socket_address(int fd, struct address *ret)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);
	int err;

	if (getsockname(fd, (struct sockaddr *)&name, &len) < 0)
		return -errno;
	err = address_from_socket(&name, len, ret);
	if (!err)
		socket_add_interface(fd, ret);
	return err;
}

static void bound_address(int fd, const struct socket_wish *wish, struct address *ret)
{
	int err;

	*ret = wish->address;
	if (wish->fd < 0 && wish->address.kind == ADDRESS_UNIX)
		return;
	err = socket_address(fd, ret);
	if (err == -EAFNOSUPPORT) {
		ret->kind = ADDRESS_UNIX; /* one without a name */
		ret->family = AF_UNIX;
	}
	if (!err && ret->kind == ADDRESS_TCP && (wish->datagrams || wish->address.kind == ADDRESS_UDP))
		ret->kind = ADDRESS_UDP;
}

static int open_one(const struct socket_wish *wish, int family, struct socket_file *file, int *ret)
{
	bool is_udp = wish->address.kind == ADDRESS_UDP;
	int fd = socket(family, (is_udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = bind_it(fd, wish, family, file);
	if (!err && wish->address.kind == ADDRESS_TCP)
		err = set_tcp_options(fd, &wish->address.options);
	if (!err && !is_udp && !wish->is_bound_only)
		err = listen_with(fd, wish);
	if (err) {
		socket_remove_file(file);
		fd_close(&fd);
	} else {
		*ret = fd;
	}
	return err;
}

int socket_set_deaf(int fd, bool deaf)
{
	struct sock_filter drop = {BPF_RET | BPF_K, 0, 0, 0};
	struct sock_fprog program = {1, &drop};

	return setsockopt(fd, SOL_SOCKET, deaf ? SO_ATTACH_FILTER : SO_DETACH_FILTER, &program, sizeof(program)) < 0 ? -errno
														    : 0;
}

int socket_lock(int fd)
{
	return set_option(fd, SOL_SOCKET, SO_LOCK_FILTER, 1);
}

static int open_side(const struct socket_wish *wish, const struct address *bound, bool lock)
{
	struct socket_wish side = *wish;
	bool is_udp = bound->kind == ADDRESS_UDP;
	int fd = socket(bound->family, (is_udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	if (wish->has_owner && fchown(fd, wish->owner, (gid_t)-1) < 0) {
		err = -errno;
		fd_close(&fd);
		return err;
	}
	side.address = *bound;
	side.address.options = wish->address.options;
	err = bind_inet(fd, &side, bound->family, true);
	if (!err && lock)
		err = socket_lock(fd);
	if (!err && !is_udp)
		err = set_tcp_options(fd, &wish->address.options);
	if (!err && !is_udp && !wish->is_bound_only)
		err = listen_with(fd, wish);
	if (err)
		fd_close(&fd);
	return err ? err : fd;
}

int socket_open_side(const struct socket_wish *wish, const struct address *bound)
{
	return open_side(wish, bound, true);
}

int socket_open_bound(const struct socket_wish *wish, const struct address *bound)
{
	struct socket_wish unheard = *wish;

	unheard.is_bound_only = true;
	return open_side(&unheard, bound, false);
}

int socket_bind_own(int fd, const struct socket_wish *wish, const struct sockaddr *name, socklen_t len)
{
	bool is_tcp = wish->address.kind == ADDRESS_TCP;
	int err = 0;

	if (is_tcp)
		err = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	err = err ? err : set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (!err && bind(fd, name, len) < 0)
		err = -errno;
	if (!err && is_tcp)
		err = set_tcp_options(fd, &wish->address.options);
	return err;
}

void socket_copy_options(int from, int to)
{
	static const struct {
		int level, name;
	} options[] = {
	    {SOL_SOCKET, SO_KEEPALIVE},	     {SOL_SOCKET, SO_OOBINLINE},      {SOL_SOCKET, SO_LINGER},
	    {SOL_SOCKET, SO_PRIORITY},	     {SOL_SOCKET, SO_RCVTIMEO},	      {SOL_SOCKET, SO_SNDTIMEO},
	    {SOL_SOCKET, SO_BUSY_POLL},	     {IPPROTO_TCP, TCP_NODELAY},      {IPPROTO_TCP, TCP_USER_TIMEOUT},
	    {IPPROTO_TCP, TCP_DEFER_ACCEPT}, {IPPROTO_TCP, TCP_FASTOPEN},     {IPPROTO_TCP, TCP_KEEPIDLE},
	    {IPPROTO_TCP, TCP_KEEPINTVL},    {IPPROTO_TCP, TCP_KEEPCNT},      {IPPROTO_IP, IP_TRANSPARENT},
	};
	union {
		int number;
		struct timeval time;
		struct linger linger;
	} value;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		socklen_t len = sizeof(value);

		if (getsockopt(from, options[i].level, options[i].name, &value, &len) == 0)
			setsockopt(to, options[i].level, options[i].name, &value, len);
	}
}

int socket_listen(int fd, const struct socket_wish *wish)
{
	int err = listen_with(fd, wish);

	return err || !wish->is_door ? err : set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
}

/* Of udp the group begins at bind(2), so that the first socket needs SO_REUSEPORT before it; whether the port is
 * free, and which one is, another socket asks first. What comes to it nobody reads. */
static int open_udp_door(const struct socket_wish *wish, int family, int *ret)
{
	struct socket_file none = {.dir = -1};
	struct address bound;
	int fd = -1, err = open_one(wish, family, &none, &fd);

	if (err)
		return err;
	bound_address(fd, wish, &bound);
	fd_close(&fd);
	fd = open_side(wish, &bound, false);
	if (fd < 0)
		return fd;
	set_option(fd, SOL_SOCKET, SO_RCVBUF, 1); /* the kernel makes the least of it */
	*ret = fd;
	return 0;
}

static int open_in_family(const struct socket_wish *wish, int family, struct socket_file *file, int *ret)
{
	if (wish->is_door && wish->address.kind == ADDRESS_UDP)
		return open_udp_door(wish, family, ret);
	return open_one(wish, family, file, ret);
}

int socket_first_unprivileged_port(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
	int port = 1024;

	if (f) {
		if (fscanf(f, "%d", &port) != 1)
			port = 1024;
		fclose(f);
	}
	return port;
}

void socket_listen_again(int fd, const struct socket_wish *wish)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	/* shutdown(2) of one that does not listen any more leaves a mark, and what it accepts later is born shut down.
	 * To disconnect (connect(2)) takes the mark away. */
	(void)connect(fd, &none, sizeof(none));
	listen_with(fd, wish);
}

void socket_set_backlog(int fd, const struct socket_wish *wish)
{
	listen_with(fd, wish);
}

static int open_given(const struct socket_wish *wish, int *ret)
{
	int type = -1, fd, err = 0;
	socklen_t size = sizeof(type);

	if (getsockopt(wish->fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    type != (wish->datagrams ? SOCK_DGRAM : SOCK_STREAM))
		return -EINVAL;
	fd = fcntl(wish->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	fd_set_nonblocking(fd, true);
	if (!wish->datagrams)
		err = listen_with(fd, wish);
	if (err)
		fd_close(&fd);
	else
		*ret = fd;
	return err;
}

int socket_open(const struct socket_wish *wish, struct address *ret_bound, struct socket_file *ret_file)
{
	int family = wish->address.family, fd = -1, err;

	ret_file->dir = -1;
	if (wish->fd >= 0) {
		err = open_given(wish, &fd);
	} else if (family == AF_UNSPEC) {
		err = open_in_family(wish, AF_INET6, ret_file, &fd);
		if ((err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL || err == -EINVAL) && !wish->ipv6_only &&
		    !wish->address.options.ipv6_only)
			err = open_in_family(wish, AF_INET, ret_file, &fd);
	} else {
		err = open_in_family(wish, family, ret_file, &fd);
	}
	if (err)
		return err;
	bound_address(fd, wish, ret_bound);
	return fd;
}
