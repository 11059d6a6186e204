/* hello_libevent: umbel in a loop that is somebody else's, in both roles: umbel_fd() is one more
 * descriptor to watch, umbel_dispatch() what to do when it is readable.
 *
 *     hello_libevent [PORT]       then: nc localhost 8000 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <umbel.h>

static struct event_base *base;
static int result = 1; /* of the last umbel_dispatch(): 1 goes on */

static void on_umbel(evutil_socket_t fd, short what, void *umbel)
{
	result = umbel_dispatch(umbel);
	if (result != 1)
		event_base_loopbreak(base);
}

static void on_signal(evutil_socket_t sig, short what, void *umbel)
{
	umbel_stop(umbel);
}

/* The client went away, or has its greeting. */
static void on_end(struct bufferevent *b, short what, void *umbel)
{
	int fd = bufferevent_getfd(b);

	bufferevent_free(b); /* this first: it takes fd out of libevent's epoll set */
	umbel_done(umbel, fd);
}

static void on_written(struct bufferevent *b, void *umbel)
{
	on_end(b, 0, umbel);
}

static void serve(struct umbel *u, int fd, void *data)
{
	struct bufferevent *b;

	evutil_make_socket_nonblocking(fd);
	b = bufferevent_socket_new(base, fd, 0); /* not BEV_OPT_CLOSE_ON_FREE: umbel_done() closes */
	if (!b) {
		umbel_done(u, fd);
		return;
	}
	bufferevent_setcb(b, NULL, on_written, on_end, u);
	evbuffer_add_printf(bufferevent_get_output(b), "hello from worker %d\n", umbel_slot(u));
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	char address[64];
	int err = umbel_open(argc, argv, &u);

	signal(SIGPIPE, SIG_IGN);
	snprintf(address, sizeof(address), "tcp://:%s", argc > 1 ? argv[1] : "8000");
	if (!err)
		err = umbel_is_primary(u) ? umbel_scale(u, umbel_parallelism())
					  : umbel_listen(u, address, serve, NULL);
	if (!err) {
		base = event_base_new();
		event_add(event_new(base, umbel_fd(u), EV_READ | EV_PERSIST, on_umbel, u), NULL);
		event_add(evsignal_new(base, SIGTERM, on_signal, u), NULL);
		event_add(evsignal_new(base, SIGINT, on_signal, u), NULL);
		err = event_base_dispatch(base) < 0 ? -EIO : result;
	}
	if (err)
		fprintf(stderr, "hello_libevent: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
