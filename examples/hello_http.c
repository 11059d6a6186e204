/* hello_http: a web server on every core. umbel brings the connections, libmicrohttpd serves them in
 * a thread of its own.     hello_http [PORT], then: curl localhost:8000 */
#include <errno.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <umbel.h>
#include <unistd.h>

enum { MOST = 65536 };

static atomic_bool draining;
static atomic_bool is_client[MOST]; /* by descriptor */

static enum MHD_Result answer(void *umbel, struct MHD_Connection *c, const char *url, const char *method,
			      const char *version, const char *body, size_t *body_size, void **state)
{
	static int seen;
	struct MHD_Response *r;
	enum MHD_Result result;
	char text[64];

	if (!*state || *body_size > 0) { /* an answer before its end would end the connection */
		*state = &seen;
		*body_size = 0;
		return MHD_YES;
	}
	snprintf(text, sizeof(text), "hello from worker %d (pid %d)\n", umbel_slot(umbel), getpid());
	r = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
	if (draining) /* its next request goes to another worker */
		MHD_add_response_header(r, "Connection", "close");
	result = MHD_queue_response(c, MHD_HTTP_OK, r);
	MHD_destroy_response(r);
	return result;
}

static void notify(void *umbel, struct MHD_Connection *c, void **state,
		   enum MHD_ConnectionNotificationCode code)
{
	int fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

	if (fd < MOST)
		is_client[fd] = code == MHD_CONNECTION_NOTIFY_STARTED;
	if (code == MHD_CONNECTION_NOTIFY_CLOSED)
		umbel_done(umbel, -1); /* libmicrohttpd closes it, out of its epoll set first */
}

static void serve(struct umbel *u, int fd, void *http)
{
	static const struct sockaddr unknown = {.sa_family = AF_UNSPEC};

	if (MHD_add_connection(http, fd, &unknown, sizeof(unknown)) != MHD_YES)
		umbel_done(u, -1); /* it has closed fd */
}

/* No cut: requests that are here already are still read and answered, then the connection ends. */
static void end_idle(int sig)
{
	int before = errno;

	for (int fd = 0; fd < MOST; fd++)
		if (is_client[fd])
			shutdown(fd, SHUT_RD);
	errno = before;
}

/* A connection between two requests lives on for a while: the next one may be on its way. */
static void on_drain(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct itimerval once = {.it_value = {1, 500000}};

	draining = true;
	signal(SIGALRM, end_idle);
	setitimer(ITIMER_REAL, &once, NULL);
}

static int work(struct umbel *u, const char *address)
{
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
