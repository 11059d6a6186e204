/* The corners of the library that a program of its own meets, one for each name:
 *
 *     embed poll ADDRESS      both roles in a loop of poll(2); SIGTERM stops by umbel_wake()
 *     embed wake              a thread wakes the primary
 *     embed close-in-handler  umbel_close() inside a handler, the worker alive
 *     embed by-hand           umbel_fork() with an environment, and again when it has ended, thrice
 *     embed disconnect        umbel_disconnect(NULL), then UMBEL_EMPTY
 *     embed stop-first        umbel_stop() with nothing to stop
 *     embed wrong-role        what only the other role may do
 *     embed busy ADDRESS      whose address somebody has
 *     embed scale             2, 4, 1 workers
 *     embed unlisten ADDRESS  the workers serve one connection each, unlisten, listen again */
#include "primary.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct umbel *umbel;
static const char *address;
static int count;

static void say(const char *what, int number)
{
	printf("%s %d\n", what, number);
	fflush(stdout);
}

static int serve_nothing(struct umbel *u)
{
	umbel_send(u, NULL, "\"ready\"", 7, -1);
	return umbel_run(u);
}

static void greet(struct umbel *u, int fd, void *data)
{
	dprintf(fd, "%d\n", (int)getpid());
	umbel_done(u, fd);
}

static void on_woken_stop(struct umbel *u, const struct umbel_event *e, void *data)
{
	umbel_stop(u);
}

/* ---- poll ---- */

static void on_signal(int sig)
{
	umbel_wake(umbel);
}

static int loop(struct umbel *u)
{
	struct pollfd p = {umbel_fd(u), POLLIN, 0};
	int r = 1;

	while (r == 1)
		if (poll(&p, 1, -1) > 0)
			r = umbel_dispatch(u);
	return r;
}

static int run_poll(struct umbel *u)
{
	int err;

	umbel_on(u, UMBEL_WOKEN, on_woken_stop, NULL);
	signal(SIGTERM, on_signal);
	if (umbel_is_primary(u)) {
		primary_watch(u);
		err = umbel_scale(u, 2);
	} else {
		err = umbel_listen(u, address, greet, NULL);
	}
	return err ? err : loop(u);
}

/* ---- wake ---- */

static void *wake_thread(void *data)
{
	for (int i = 0; i < 1000; i++)
		umbel_wake(umbel);
	return NULL;
}

static void on_woken(struct umbel *u, const struct umbel_event *e, void *data)
{
	if (count++ == 0)
		umbel_stop(u);
}

static int run_wake(struct umbel *u)
{
	pthread_t thread;
	int r;

	umbel_on(u, UMBEL_WOKEN, on_woken, NULL);
	pthread_create(&thread, NULL, wake_thread, NULL);
	r = umbel_run(u);
	pthread_join(thread, NULL);
	printf("woken %s\n", count >= 1 && count <= 1000 ? "well" : "wrong");
	return r;
}

/* ---- close-in-handler ---- */

static void on_message_close(struct umbel *u, const struct umbel_event *e, void *data)
{
	say("closing, worker", (int)umbel_worker_pid(e->worker));
	umbel_close(u);
	umbel = NULL;
}

static int run_close(struct umbel *u)
{
	int r;

	if (!umbel_is_primary(u))
		return serve_nothing(u);
	umbel_on(u, UMBEL_MESSAGE, on_message_close, NULL);
	r = umbel_fork(u, NULL, NULL);
	return r ? r : umbel_run(u);
}

/* ---- by-hand ---- */

static void fork_another(struct umbel *u)
{
	char text[32];
	char *env[] = {text, NULL};
	struct umbel_worker *w = NULL;

	snprintf(text, sizeof(text), "TURN=%d", ++count);
	if (umbel_fork(u, env, &w) < 0 || umbel_worker_id(w) != (uint32_t)count ||
	    umbel_worker_slot(w) != 1 || umbel_worker(u, (uint32_t)count) != w ||
	    umbel_next(u, 0) == NULL || umbel_worker_state(w) != UMBEL_STATE_STARTING)
		printf("a wrong fork: %s\n", umbel_reason(u));
}

static void on_exit_again(struct umbel *u, const struct umbel_event *e, void *data)
{
	printf("%u ended with %d, asked %d, state %d\n", umbel_worker_id(e->worker), e->exit.code,
	       e->exit.asked, umbel_worker_state(e->worker));
	if (umbel_kill(e->worker, SIGKILL) == 0)
		printf("a dead one was killed\n");
	if (count < 3)
		fork_another(u);
	else
		umbel_stop(u);
}

static int run_by_hand(struct umbel *u)
{
	if (!umbel_is_primary(u)) {
		umbel_close(u);
		exit(10 + atoi(getenv("TURN")));
	}
	umbel_on(u, UMBEL_EXIT, on_exit_again, NULL);
	fork_another(u);
	return umbel_run(u);
}

/* ---- disconnect ---- */

static void on_all_ready(struct umbel *u, const struct umbel_event *e, void *data)
{
	if (++count == 3)
		say("disconnect", umbel_disconnect(u, NULL));
}

static void on_empty(struct umbel *u, const struct umbel_event *e, void *data)
{
	say("empty, workers", umbel_next(u, 0) != NULL);
	umbel_stop(u);
}

static int run_disconnect(struct umbel *u)
{
	int err;

	if (!umbel_is_primary(u))
		return serve_nothing(u);
	umbel_on(u, UMBEL_MESSAGE, on_all_ready, NULL);
	umbel_on(u, UMBEL_EXIT, primary_on_exit, NULL);
	umbel_on(u, UMBEL_EMPTY, on_empty, NULL);
	err = umbel_scale(u, 3);
	return err ? err : umbel_run(u);
}

/* ---- stop-first, busy ---- */

static int run_stop_first(struct umbel *u)
{
	say("stop", umbel_stop(u));
	return umbel_run(u);
}

static int run_busy(struct umbel *u)
{
	int err = umbel_is_primary(u) ? umbel_scale(u, 2) : umbel_listen(u, address, greet, NULL);

	return err ? err : umbel_run(u);
}

/* ---- wrong-role ---- */

static int run_wrong_role(struct umbel *u)
{
	static const struct umbel_settings s = UMBEL_SETTINGS;
	bool primary = umbel_is_primary(u);

	if (primary) {
		say("listen", umbel_listen(u, "tcp://127.0.0.1:0", greet, NULL));
		say("unlisten", umbel_unlisten(u, "tcp://127.0.0.1:0"));
		say("slot", umbel_slot(u) + (int)umbel_id(u));
		say("send", umbel_send(u, NULL, "{}", 2, 0));
	} else {
		say("setup", umbel_setup(u, &s));
		say("settings", umbel_settings(u) != NULL);
		say("fork", umbel_fork(u, NULL, NULL));
		say("scale", umbel_scale(u, 1));
		say("disconnect", umbel_disconnect(u, NULL));
		say("next", umbel_next(u, 0) != NULL);
		say("bad json", umbel_send(u, NULL, "{]", 2, -1));
		say("cmd", umbel_send(u, NULL, "{\"cmd\":\"NODE_X\"}", 16, -1));
		say("bad address", umbel_listen(u, "tcp://localhost:1", greet, NULL));
		say("twice", umbel_listen(u, "tcp://127.0.0.1:0", greet, NULL) +
				 umbel_listen(u, "tcp://127.0.0.1:0", greet, NULL));
		say("not served", umbel_unlisten(u, "tcp://127.0.0.1:1"));
	}
	printf("%s\n", umbel_reason(u));
	fflush(stdout);
	if (primary && umbel_fork(u, NULL, NULL) == 0) {
		umbel_on(u, UMBEL_EXIT, on_empty, NULL);
		return umbel_run(u);
	}
	umbel_stop(u);
	return umbel_run(u);
}

/* ---- scale ---- */

static void on_ready_scale(struct umbel *u, const struct umbel_event *e, void *data)
{
	int workers = 0;

	if (++count == 2)
		say("scale 4:", umbel_scale(u, 4));
	if (count != 4)
		return;
	for (struct umbel_worker *w = umbel_next(u, 0); w; w = umbel_next(u, umbel_worker_id(w)))
		workers++;
	say("workers", workers);
	say("scale 1025:", umbel_scale(u, 1025));
	say("scale 1:", umbel_scale(u, 1));
}

static void on_exit_scaled(struct umbel *u, const struct umbel_event *e, void *data)
{
	primary_on_exit(u, e, data);
	if (++count == 7)
		umbel_stop(u);
}

static int run_scale(struct umbel *u)
{
	int err;

	if (!umbel_is_primary(u))
		return serve_nothing(u);
	umbel_on(u, UMBEL_MESSAGE, on_ready_scale, NULL);
	umbel_on(u, UMBEL_EXIT, on_exit_scaled, NULL);
	err = umbel_scale(u, 2);
	return err ? err : umbel_run(u);
}

/* ---- unlisten ---- */

static void greet_once(struct umbel *u, int fd, void *data)
{
	greet(u, fd, data);
	if (++count == 2)
		return;
	if (umbel_unlisten(u, address) < 0 || umbel_listen(u, address, greet_once, NULL) < 0)
		printf("cannot listen again: %s\n", umbel_reason(u));
}

static int run_unlisten(struct umbel *u)
{
	int err;

	if (umbel_is_primary(u))
		primary_watch(u);
	err = umbel_is_primary(u) ? umbel_scale(u, 1) : umbel_listen(u, address, greet_once, NULL);
	return err ? err : umbel_run(u);
}

/* ---- all ---- */

static const struct {
	const char *name;
	int (*run)(struct umbel *u);
} cases[] = {
    {"poll", run_poll},           {"wake", run_wake},
    {"by-hand", run_by_hand},     {"close-in-handler", run_close},
    {"busy", run_busy},           {"disconnect", run_disconnect},
    {"scale", run_scale},         {"stop-first", run_stop_first},
    {"unlisten", run_unlisten},   {"wrong-role", run_wrong_role},
};

int main(int argc, char **argv)
{
	int before = 0, r;
	bool primary;

	address = argv[2];
	r = primary_open(argc, argv, &umbel, &before);
	if (r) {
		printf("open: %d %s\n", r, umbel_reason(NULL));
		return 3;
	}
	primary = umbel_is_primary(umbel);
	r = 4;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (strcmp(argv[1], cases[i].name) == 0)
			r = cases[i].run(umbel);
	printf("%s: over: %d%s%s\n", primary ? "primary" : "worker", r, r < 0 ? " " : "",
	       r < 0 ? umbel_reason(umbel) : "");
	umbel_close(umbel);
	if (primary)
		primary_report(before);
	return r != 0;
}
