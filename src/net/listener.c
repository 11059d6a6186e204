#include "net/listener.h"

#include "base/fd.h"

#include <errno.h>
#include <sys/socket.h>

enum { RETRY_MS = 100 };

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct listener *l = poll->data;

	l->ready(l);
}

static void on_retry(uv_timer_t *timer)
{
	struct listener *l = timer->data;

	l->ready(l);
}

int listener_open(struct listener *l, uv_loop_t *loop, const struct socket_wish *wish, listener_ready *ready)
{
	int fd = socket_open(wish, &l->address, &l->file), err;

	if (fd < 0)
		return fd;
	err = uv_poll_init(loop, &l->poll, fd);
	if (err) {
		socket_remove_file(&l->file);
		fd_close(&fd);
		return err;
	}
	uv_timer_init(loop, &l->retry);
	l->poll.data = l->retry.data = l;
	l->open_handles = 2;
	l->fd = fd;
	l->ready = ready;
	l->armed = false;
	listener_arm(l);
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	if (--l->open_handles == 0)
		l->closed(l);
}

void listener_close(struct listener *l, void (*closed)(struct listener *l))
{
	l->closed = closed;
	uv_close((uv_handle_t *)&l->poll, on_closed);
	uv_close((uv_handle_t *)&l->retry, on_closed);
	fd_close(&l->fd);
	socket_remove_file(&l->file);
}

void listener_arm(struct listener *l)
{
	if (!l->armed && l->ready)
		uv_poll_start(&l->poll, UV_READABLE, on_poll);
	l->armed = l->ready;
}

void listener_pause(struct listener *l)
{
	if (l->armed)
		uv_poll_stop(&l->poll);
	l->armed = false;
}

/* accept(2): errors of the new connection itself, already pending on it. Try the next one. */
static bool is_of_the_connection(int error)
{
	switch (error) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
	case EPERM: /* a firewall's no */
		return true;
	default:
		return false;
	}
}

int listener_accept(struct listener *l, bool nonblocking)
{
	int flags = SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0);
	int fd;

	do
		fd = accept4(l->fd, NULL, NULL, flags);
	while (fd < 0 && is_of_the_connection(errno));
	if (fd >= 0)
		return fd;
	if (errno == EAGAIN) {
		listener_arm(l);
		return -EAGAIN;
	}
	fd = -errno;
	listener_retry(l);
	return fd;
}

void listener_retry(struct listener *l)
{
	listener_pause(l);
	uv_timer_start(&l->retry, on_retry, RETRY_MS, 0);
}
