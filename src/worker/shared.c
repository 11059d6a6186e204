#include "base/fd.h"
#include "worker/parts.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { BACKLOG = 4096 }; /* the kernel caps it (somaxconn) */

/* ---- listening sockets ---- */

/* Not EPOLLEXCLUSIVE: it wakes one worker alone, and when that one is out of descriptors or about to leave
 * the connection waits for the next one to come. */
static int watch(struct self *s, struct listen *l)
{
	uint64_t source = SOURCE_SHARED | (uint64_t)l->number << 32;
	int err = self_watch(s, EPOLL_CTL_ADD, l->fd, source, EPOLLIN);

	l->watched = !err;
	return err;
}

/* Always before a close: others have the socket too, so that it would stay in the set. */
static void unwatch(struct self *s, struct listen *l)
{
	if (l->watched)
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, l->fd, NULL);
	l->watched = false;
}

void shared_close(struct self *s, struct listen *l)
{
	unwatch(s, l);
	fd_close(&l->fd);
}

static bool is_listening(int fd)
{
	int listens = 0;
	socklen_t size = sizeof(listens);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens;
}

static int begin_to_listen(const struct listen *l, int fd)
{
	/* umbel's listens, and Node's may by now: its backlog is somebody else's to say. One that left its
	 * group by shutdown(2) is not to come back. */
	if (!is_listening(fd) && listen(fd, l->address.options.backlog ? l->address.options.backlog : BACKLOG) < 0)
		return -errno;
	return 0;
}

static int begin_to_accept(struct self *s, struct listen *l, int *fd)
{
	int err;

	l->fd = fd_steal(fd);
	err = watch(s, l);
	if (err)
		fd_close(&l->fd);
	return err;
}

/* Out of descriptors or memory: the connections wait in the socket, perhaps for another worker. Or another process
 * has shut it down: the primary may listen on it again. */
static void pause_all(struct self *s)
{
	struct listen *l;

	TAILQ_FOREACH (l, &s->listens, link)
		unwatch(s, l);
	self_look_again(s);
}

void shared_resume(struct self *s)
{
	struct listen *l;

	TAILQ_FOREACH (l, &s->listens, link)
		if (l->fd >= 0 && !l->watched && watch(s, l) < 0)
			self_look_again(s);
}

void shared_on_ready(struct self *s, uint32_t number)
{
	struct listen *l;
	int fd;

	TAILQ_FOREACH (l, &s->listens, link)
		if (l->number == number)
			break;
	if (!l || l->fd < 0) /* closed in this turn */
		return;
	/* One each time: others may want some too, and a second look is a call in vain whenever there is one
	 * connection. So these are the calls of a server that has the socket for itself. */
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		serving_serve(s, l, fd);
	else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		pause_all(s);
}

/* ---- both kinds ---- */

static int socket_type(int fd)
{
	int type = -1;
	socklen_t size = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ? -1 : type;
}

/* The real address, also of port 0. A unix socket's may be relative to the primary: the one asked for.
 * -EADDRINUSE: what Node's primary says last, when the worker listens; until then its socket is unbound. */
static int learn_address(int fd, struct address *a)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);
	struct address bound;

	if (a->kind == ADDRESS_UNIX || getsockname(fd, (struct sockaddr *)&name, &len) < 0 ||
	    address_from_socket(&name, len, &bound) < 0 || bound.kind == ADDRESS_UNIX)
		return 0;
	if (a->port > 0 && bound.port != a->port)
		return -EADDRINUSE;
	bound.kind = a->kind;
	bound.options = a->options;
	*a = bound;
	return 0;
}

static bool is_the_programs(const struct listen *l)
{
	return l->accepts || l->address.kind == ADDRESS_UDP;
}

int shared_take(struct self *s, struct listen *l, int *fd)
{
	bool udp = l->address.kind == ADDRESS_UDP;
	int err;

	if (socket_type(*fd) != (udp ? SOCK_DGRAM : SOCK_STREAM))
		return -EPROTO;
	/* This flag is everybody's who shares the socket. Node needs it so, and we when two of us accept
	 * and there is one connection. */
	err = fd_set_nonblocking(*fd, true);
	err = err ? err : learn_address(*fd, &l->address);
	if (!err && !udp)
		err = begin_to_listen(l, *fd);
	return err || is_the_programs(l) ? err : begin_to_accept(s, l, fd);
}

void shared_give(struct self *s, struct listen *l, int *fd)
{
	if (is_the_programs(l) && !s->events->closed)
		l->f(s->umbel, fd_steal(fd), l->data);
}
