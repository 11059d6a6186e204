/* hello_http: a web server on every core. umbel brings the connections, libmicrohttpd serves them in
 * a thread of its own.     hello_http [PORT], then: curl localhost:8000 */
#include <errno.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <umbel.h>
#include <unistd.h>

static atomic_bool draining;

static enum MHD_Result answer(void *umbel, struct MHD_Connection *c, const char *url, const char *method,
			      const char *version, const char *body, size_t *body_size, void **state)
{
	struct MHD_Response *r;
	enum MHD_Result result;
	char text[64];

	snprintf(text, sizeof(text), "hello from worker %d (pid %d)\n", umbel_slot(umbel), getpid());
	r = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
	if (draining) /* do not wait for this client's next request */
		MHD_add_response_header(r, "Connection", "close");
	result = MHD_queue_response(c, MHD_HTTP_OK, r);
	MHD_destroy_response(r);
	return result;
}

static void notify(void *umbel, struct MHD_Connection *c, void **state,
		   enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_CLOSED)
		umbel_done(umbel, -1); /* libmicrohttpd closes it, out of its epoll set first */
}

static void serve(struct umbel *u, int fd, void *http)
{
	static const struct sockaddr unknown = {.sa_family = AF_UNSPEC};

	if (MHD_add_connection(http, fd, &unknown, sizeof(unknown)) != MHD_YES)
		umbel_done(u, -1); /* it has closed fd */
}

static void on_drain(struct umbel *u, const struct umbel_event *e, void *data)
{
	draining = true;
}

static int work(struct umbel *u, const char *address)
{
	/* A drain waits for connections that are kept alive but idle: not longer than the timeout. */
	struct MHD_Daemon *http = MHD_start_daemon(
	    MHD_USE_NO_LISTEN_SOCKET | MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, u,
	    MHD_OPTION_NOTIFY_CONNECTION, notify, u, MHD_OPTION_CONNECTION_TIMEOUT, 5u, MHD_OPTION_END);
	int err = http ? umbel_listen(u, address, serve, http) : -ENOMEM;

	umbel_on(u, UMBEL_DRAIN, on_drain, NULL);
	err = err ? err : umbel_run(u);
	if (http)
		MHD_stop_daemon(http); /* before umbel_close(): its thread calls umbel_done() */
	return err;
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	char address[64];
	int err = umbel_open(argc, argv, &u);

	snprintf(address, sizeof(address), "tcp://:%s", argc > 1 ? argv[1] : "8000");
	if (!err && !umbel_is_primary(u))
		err = work(u, address);
	else if (!err && !(err = umbel_scale(u, umbel_parallelism())))
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "hello_http: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
