/* A primary that does what it is told, a line at a time, and says what comes of it and every event. Its
 * workers tell each connection "PID GENERATION MARK", or do what the variable MODE says.
 *
 *     reload FIFO ADDRESS [SOAK_MS [READY_MS [SURGE]]]
 *
 * Lines: scale N             reload CANARIES HOLD_MS     continue, undo     stop, close
 *        env NAME=VALUE      for workers from now on
 *        fork NAME=VALUE     umbel_fork() with it
 *        again N             umbel_reload() so many times more, each in the handler of UMBEL_RELOADED
 * MODE:  crash (at boot), late (300 ms after it listens), deaf (never listens), role (says what a worker
 *        may not do) */
#include "primary.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static struct umbel *umbel;
static char extra[256];
static int again;

/* ---- a worker ---- */

static const char *variable(const char *name)
{
	return getenv(name) ? getenv(name) : "-";
}

static void greet(struct umbel *u, int fd, void *data)
{
	dprintf(fd, "%d %s %s\n", (int)getpid(), variable("UMBEL_GENERATION"), variable("MARK"));
	umbel_done(u, fd);
}

static void on_drain(struct umbel *u, const struct umbel_event *e, void *data)
{
	printf("drain %d\n", (int)getpid());
	fflush(stdout);
}

static void die(int sig)
{
	_exit(3);
}

static int work(struct umbel *u, const char *address)
{
	struct itimerval soon = {.it_value = {0, 300000}};
	const char *mode = variable("MODE");

	if (strcmp(mode, "crash") == 0)
		return 1;
	if (strcmp(mode, "late") == 0) {
		signal(SIGALRM, die);
		setitimer(ITIMER_REAL, &soon, NULL);
	}
	if (strcmp(mode, "role") == 0) {
		printf("role %d %d\n", umbel_reload(u, 0, 0), umbel_reload_end(u, true));
		fflush(stdout);
	}
	umbel_on(u, UMBEL_DRAIN, on_drain, NULL);
	if (strcmp(mode, "deaf") != 0)
		umbel_listen(u, address, greet, NULL);
	return umbel_run(u) != 0;
}

/* ---- events of the primary ---- */

static void say(const char *what, const struct umbel_event *e)
{
	printf("%s %d %d %u\n", what, umbel_worker_slot(e->worker), (int)umbel_worker_pid(e->worker),
	       umbel_worker_generation(e->worker));
	fflush(stdout);
}

static void on_ready(struct umbel *u, const struct umbel_event *e, void *data)
{
	say("ready", e);
}

static void on_gone(struct umbel *u, const struct umbel_event *e, void *data)
{
	say("gone", e);
}

static void on_empty(struct umbel *u, const struct umbel_event *e, void *data)
{
	puts("empty");
	fflush(stdout);
}

static void on_failed(struct umbel *u, const struct umbel_event *e, void *data)
{
	printf("failed %d %d %s\n", e->worker ? umbel_worker_slot(e->worker) : 0, e->result.error,
	       e->result.why);
	fflush(stdout);
}

static void on_reloaded(struct umbel *u, const struct umbel_event *e, void *data)
{
	printf("reloaded %d %u %s\n", e->result.error, e->result.generation, e->result.why);
	if (again > 0 && again--)
		printf("again: %d\n", umbel_reload(u, 0, 0));
	fflush(stdout);
}

static void on_woken(struct umbel *u, const struct umbel_event *e, void *data)
{
	umbel_stop(u);
}

static void on_signal(int sig)
{
	umbel_wake(umbel);
}

/* ---- what it is told ---- */

static int setup_env(const char *entry)
{
	struct umbel_settings s = *umbel_settings(umbel);
	char *env[] = {extra, NULL};

	snprintf(extra, sizeof(extra), "%s", entry);
	s.env = env;
	return umbel_setup(umbel, &s);
}

static int fork_with(char *entry)
{
	char *env[] = {entry, NULL};

	return umbel_fork(umbel, env, NULL);
}

static int obey(char *line)
{
	unsigned canaries, hold_ms;
	int count;

	if (sscanf(line, "scale %d", &count) == 1)
		return umbel_scale(umbel, count);
	if (sscanf(line, "reload %u %u", &canaries, &hold_ms) == 2)
		return umbel_reload(umbel, canaries, hold_ms);
	if (sscanf(line, "again %d", &again) == 1)
		return 0;
	if (strncmp(line, "env ", 4) == 0)
		return setup_env(line + 4);
	if (strncmp(line, "fork ", 5) == 0)
		return fork_with(line + 5);
	if (strcmp(line, "continue") == 0 || strcmp(line, "undo") == 0)
		return umbel_reload_end(umbel, line[0] == 'u');
	return strcmp(line, "stop") == 0 ? umbel_stop(umbel) : 1;
}

/* False: to be closed. */
static bool read_orders(int fifo)
{
	char text[4096], *rest = text, *line;
	ssize_t n = read(fifo, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	while ((line = strsep(&rest, "\n")) && line[0]) {
		int r;

		if (strcmp(line, "close") == 0)
			return false;
		r = obey(line);
		printf("%s: %d%s%s\n", line, r, r < 0 ? " " : "", r < 0 ? umbel_reason(umbel) : "");
		fflush(stdout);
	}
	return true;
}

static int loop(int fifo)
{
	struct pollfd p[] = {{umbel_fd(umbel), POLLIN, 0}, {fifo, POLLIN, 0}};
	int r = 1;

	while (r == 1) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents && !read_orders(fifo))
			return 0;
		r = umbel_dispatch(umbel);
	}
	return r;
}

static int supervise(int argc, char **argv)
{
	struct umbel_settings s = UMBEL_SETTINGS;
	int fifo = open(argv[1], O_RDWR | O_CLOEXEC), r;

	s.soak_ms = argc > 3 ? (uint32_t)atoi(argv[3]) : 200;
	s.ready_ms = argc > 4 ? (uint32_t)atoi(argv[4]) : 10000;
	s.surge = argc > 5 ? (uint32_t)atoi(argv[5]) : 1;
	s.max_failures = 2;
	primary_watch(umbel);
	umbel_on(umbel, UMBEL_READY, on_ready, NULL);
	umbel_on(umbel, UMBEL_GONE, on_gone, NULL);
	umbel_on(umbel, UMBEL_EMPTY, on_empty, NULL);
	umbel_on(umbel, UMBEL_FAILED, on_failed, NULL);
	umbel_on(umbel, UMBEL_RELOADED, on_reloaded, NULL);
	umbel_on(umbel, UMBEL_WOKEN, on_woken, NULL);
	signal(SIGTERM, on_signal);
	r = fifo < 0 || umbel_setup(umbel, &s) < 0 ? -1 : loop(fifo);
	close(fifo);
	signal(SIGTERM, SIG_IGN); /* umbel is about to go */
	printf("over: %d\n", r);
	return r != 0;
}

int main(int argc, char **argv)
{
	int before = 0, status;

	if (argc < 3 || primary_open(argc, argv, &umbel, &before) < 0) {
		fprintf(stderr, "reload: %s\n", umbel_reason(NULL));
		return 2;
	}
	if (!umbel_is_primary(umbel)) {
		status = work(umbel, argv[2]);
		umbel_close(umbel);
		return status;
	}
	status = supervise(argc, argv);
	umbel_close(umbel);
	primary_report(before);
	return status;
}
