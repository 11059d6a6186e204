/* rolling: a server that is its own supervisor. It keeps a few workers; SIGHUP replaces them one by one, and
 * the program is read from disk again: build the next version over this one, then `kill -HUP`. What happens
 * to the workers is a line each.
 *
 *     rolling [PORT [WORKERS]]      then: curl localhost:8000, kill -HUP PID */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <umbel.h>
#include <unistd.h>

/* ---- in a worker ---- */

static void serve(struct umbel *u, int fd, void *data)
{
	struct timeval patience = {1, 0}; /* one client at a time: nobody may keep the others waiting */
	char request[4096], body[64];
	int len;

	len = snprintf(body, sizeof(body), "generation %s, slot %d\n", getenv("UMBEL_GENERATION"),
		       umbel_slot(u));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (read(fd, request, sizeof(request)) > 0)
		dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len,
			body);
	umbel_done(u, fd);
}

/* Told to leave. umbel hands it no connection any more, and umbel_run() returns when all are done; a server
 * with connections that stay open tells their clients now (hello_http.c). */
static void on_drain(struct umbel *u, const struct umbel_event *e, void *data)
{
	printf("DRAIN     slot %d, pid %d\n", umbel_slot(u), (int)getpid());
	fflush(stdout);
}

/* ---- in the primary ---- */

static void say(const char *event, const struct umbel_worker *w, const char *text)
{
	printf("%-9s slot %d, pid %d, generation %u%s\n", event, umbel_worker_slot(w),
	       (int)umbel_worker_pid(w), umbel_worker_generation(w), text);
	fflush(stdout);
}

static void on_ready(struct umbel *u, const struct umbel_event *e, void *data)
{
	say("READY", e->worker, "");
}

/* The last one of a worker: its process and its channel are over. */
static void on_gone(struct umbel *u, const struct umbel_event *e, void *data)
{
	say("GONE", e->worker, umbel_worker_asked(e->worker) ? ", as it was asked to" : ": it ended by itself");
}

static void on_reloaded(struct umbel *u, const struct umbel_event *e, void *data)
{
	printf("RELOADED  generation %u%s: %s\n", e->result.generation, e->result.error ? " undone" : "",
	       e->result.why);
	fflush(stdout);
}

/* One worker (it cannot listen, or not be executed) is tried again. All slots: that is the end. */
static void on_failed(struct umbel *u, const struct umbel_event *e, void *status)
{
	printf("FAILED    %s\n", e->result.why);
	fflush(stdout);
	if (e->worker)
		return;
	*(int *)status = 1;
	umbel_stop(u);
}

static void on_empty(struct umbel *u, const struct umbel_event *e, void *data)
{
	printf("EMPTY     nobody is left, and nobody follows\n");
	fflush(stdout);
}

/* ---- both ---- */

static int supervise(struct umbel *u, int workers, int *status)
{
	struct umbel_settings s = UMBEL_SETTINGS;
	int err;

	s.soak_ms = 500;    /* before its predecessor drains a new worker has to stay ready so long */
	s.ready_ms = 10000; /* and to be ready by then */
	err = umbel_setup(u, &s);
	umbel_on(u, UMBEL_READY, on_ready, NULL);
	umbel_on(u, UMBEL_GONE, on_gone, NULL);
	umbel_on(u, UMBEL_RELOADED, on_reloaded, NULL);
	umbel_on(u, UMBEL_FAILED, on_failed, status);
	umbel_on(u, UMBEL_EMPTY, on_empty, NULL);
	return err ? err : umbel_scale(u, workers);
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	char address[64];
	int status = 0;
	int err = umbel_open(argc, argv, &u);

	signal(SIGPIPE, SIG_IGN);
	snprintf(address, sizeof(address), "tcp://:%s", argc > 1 ? argv[1] : "8000");
	if (!err && umbel_is_primary(u)) {
		err = supervise(u, argc > 2 ? atoi(argv[2]) : umbel_parallelism(), &status);
	} else if (!err) {
		umbel_on(u, UMBEL_DRAIN, on_drain, NULL);
		err = umbel_listen(u, address, serve, NULL);
	}
	if (!err)
		err = umbel_run(u); /* TERM and INT: umbel_stop(). HUP: umbel_reload(u, 0, 0) */
	if (err)
		fprintf(stderr, "rolling: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0 || status != 0;
}
