#include "net/listener.h"

#include "base/fd.h"

#include <errno.h>
#include <sys/socket.h>

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct listener *l = poll->data;

	if (l->shut && (status < 0 || events & UV_DISCONNECT))
		l->shut(l);
	else if (l->armed)
		l->ready(l);
}

static void on_retry(uv_timer_t *timer)
{
	struct listener *l = timer->data;

	l->ready(l);
}

/* A listening socket hangs up when somebody shuts it down (K35). */
static void watch(struct listener *l)
{
	int events = (l->armed ? UV_READABLE : 0) | (l->shut ? UV_DISCONNECT : 0);

	if (events)
		uv_poll_start(&l->poll, events, on_poll);
	else
		uv_poll_stop(&l->poll);
}

int listener_adopt(struct listener *l, uv_loop_t *loop, int fd, listener_ready *ready, listener_shut *shut)
{
	int err = uv_poll_init(loop, &l->poll, fd);

	if (err)
		return err;
	uv_timer_init(loop, &l->retry);
	l->poll.data = l->retry.data = l;
	l->open_handles = 2;
	l->fd = fd;
	l->file.dir = -1;
	l->ready = ready;
	l->shut = shut;
	l->armed = false;
	watch(l);
	return 0;
}

void listener_watch_shut(struct listener *l, listener_shut *shut)
{
	l->shut = shut;
	watch(l);
}

int listener_open(struct listener *l, uv_loop_t *loop, const struct socket_wish *wish, listener_ready *ready)
{
	struct socket_file file;
	int fd = socket_open(wish, &l->address, &file), err;

	if (fd < 0)
		return fd;
	err = listener_adopt(l, loop, fd, ready, NULL);
	if (err) {
		socket_remove_file(&file);
		fd_close(&fd);
		return err;
	}
	l->file = file;
	if (!wish->is_bound_only)
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
	bool armed = l->armed;

	l->armed = l->ready;
	if (l->armed != armed)
		watch(l);
}

void listener_pause(struct listener *l)
{
	bool armed = l->armed;

	l->armed = false;
	if (armed)
		watch(l);
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
	listener_retry(l, LISTENER_RETRY_MS);
	return fd;
}

void listener_retry(struct listener *l, unsigned ms)
{
	listener_pause(l);
	uv_timer_start(&l->retry, on_retry, ms, 0);
}
