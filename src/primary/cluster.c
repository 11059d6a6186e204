#include "primary/cluster.h"

#include "base/fd.h"
#include "primary/dialogue.h"
#include "primary/settings.h"
#include "primary/worker.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
	RETRY_MS = 1000,  /* until a slot whose worker could not even be started is tried again */
	QUIET_TURNS = 16, /* at most, before the caller's loop has its turn again */
	MIN_UP_MS = 1000, /* who has no channel to say that it serves has failed if it ends sooner */
};

/* ---- slots ---- */

static struct slot *slot_new(struct cluster *c)
{
	struct slot **more = reallocarray(c->slots, (size_t)c->slot_count + 1, sizeof(*more));
	struct slot *slot;

	if (!more)
		return NULL;
	c->slots = more;
	slot = calloc(1, sizeof(*slot));
	if (!slot)
		return NULL;
	slot->number = c->slot_count + 1;
	c->slots[c->slot_count++] = slot;
	return slot;
}

static struct slot *slot_lowest_empty(struct cluster *c)
{
	for (int i = 0; i < c->slot_count; i++)
		if (!c->slots[i]->worker && !c->slots[i]->kept)
			return c->slots[i];
	if (c->slot_count == CLUSTER_MAX_SLOTS) {
		reason_set(c->reason, -EAGAIN, "all %d slots are taken", CLUSTER_MAX_SLOTS);
		return NULL;
	}
	return slot_new(c);
}

bool cluster_expects_workers(const struct cluster *c)
{
	if (c->stopping)
		return false;
	for (int i = 0; i < c->slot_count; i++)
		if (c->slots[i]->kept)
			return true;
	return false;
}

/* A number of failures in a row, before any worker listened: it would go on for ever. */
static bool is_hopeless(struct cluster *c)
{
	unsigned limit = c->settings.max_failures;
	char why[128];

	if (++c->failures < limit || limit == 0)
		return false;
	if (c->failures == limit) {
		snprintf(why, sizeof(why), "%u workers in a row ended before they listened", limit);
		events_add_failed(c->events, NULL, -ECANCELED, why);
	}
	return true;
}

static bool has_failed(const struct umbel_worker *w)
{
	if (w->listened || w->asked)
		return false;
	return w->exec_error || w->kind != KIND_NONE ||
	       uv_hrtime() / 1000000 - w->started_ms < MIN_UP_MS;
}

static void on_retry(uv_timer_t *timer);

static void refill(struct cluster *c, struct slot *slot)
{
	struct umbel_worker *w;

	if (worker_start(c, slot, &w) == 0) {
		slot->restarts++;
		return;
	}
	if (is_hopeless(c))
		slot->kept = false;
	else
		uv_timer_start(&c->retry, on_retry, RETRY_MS, 0);
}

static void on_retry(uv_timer_t *timer)
{
	struct cluster *c = timer->data;

	for (int i = 0; i < c->slot_count && !c->stopping; i++)
		if (c->slots[i]->kept && !c->slots[i]->worker)
			refill(c, c->slots[i]);
}

void cluster_worker_dead(struct cluster *c, struct umbel_worker *w)
{
	struct slot *slot = w->slot;

	slot->worker = NULL;
	if (has_failed(w) && is_hopeless(c))
		slot->kept = false;
	if (slot->kept && !c->stopping)
		refill(c, slot);
	if (TAILQ_EMPTY(&c->workers))
		events_add(c->events, UMBEL_EMPTY, NULL, "", 0);
}

void cluster_worker_listens(struct cluster *c)
{
	c->failures = 0;
}

/* ---- what the user asks for ---- */

int cluster_setup(struct cluster *c, const struct umbel_settings *s)
{
	struct umbel_settings copy;
	int err = settings_copy(s, &copy, c->reason);

	if (err)
		return err;
	settings_finish(&c->settings);
	c->settings = copy;
	return 0;
}

static int fill(struct cluster *c, struct slot *slot, char *const *env, bool kept,
		struct umbel_worker **ret)
{
	char **copy;
	int err = strings_copy(env, &copy);

	if (err)
		return reason_set(c->reason, err, "out of memory");
	strings_free(slot->env);
	slot->env = copy;
	err = worker_start(c, slot, ret);
	if (!err)
		slot->kept = kept;
	return err;
}

int cluster_fork(struct cluster *c, char *const *env, struct umbel_worker **ret)
{
	struct umbel_worker *w;
	struct slot *slot;
	int err;

	if (c->stopping)
		return reason_set(c->reason, -ESHUTDOWN, "the cluster is stopping");
	slot = slot_lowest_empty(c);
	if (!slot)
		return c->slot_count == CLUSTER_MAX_SLOTS ? -EAGAIN : -ENOMEM;
	err = fill(c, slot, env, c->settings.respawn, &w);
	if (!err && ret)
		*ret = w;
	return err;
}

static void retire(struct slot *slot)
{
	slot->kept = false;
	if (slot->worker)
		worker_ask(slot->worker);
}

int cluster_scale(struct cluster *c, int workers)
{
	int err = 0;

	if (workers < 0 || workers > CLUSTER_MAX_SLOTS)
		return reason_set(c->reason, -EINVAL, "%d workers: allowed are 0 to %d", workers,
				  CLUSTER_MAX_SLOTS);
	if (c->stopping)
		return reason_set(c->reason, -ESHUTDOWN, "the cluster is stopping");
	c->settings.respawn = true;
	for (int i = workers; i < c->slot_count; i++)
		retire(c->slots[i]);
	for (int i = 0; i < workers && !err; i++) {
		struct slot *slot = i < c->slot_count ? c->slots[i] : slot_new(c);
		struct umbel_worker *w;

		if (!slot)
			return reason_set(c->reason, -ENOMEM, "out of memory");
		/* One that is still draining is followed by another when it is gone. */
		if (slot->worker)
			slot->kept = true;
		else
			err = fill(c, slot, NULL, true, &w);
	}
	return err;
}

int cluster_stop(struct cluster *c)
{
	struct umbel_worker *w;
	bool again = c->stopping;

	c->stopping = true;
	for (int i = 0; i < c->slot_count; i++)
		c->slots[i]->kept = false;
	TAILQ_FOREACH (w, &c->workers, link) {
		if (again)
			worker_kill_group(w, SIGKILL);
		else
			worker_ask(w);
	}
	return 0;
}

int cluster_disconnect(struct cluster *c, struct umbel_worker *w)
{
	bool any = false;

	for (int i = 0; i < c->slot_count; i++)
		if ((!w && c->slots[i]->worker) || (w && c->slots[i] == w->slot &&
						    c->slots[i]->worker == w)) {
			retire(c->slots[i]);
			any = true;
		}
	if (!w && !any)
		events_add(c->events, UMBEL_EMPTY, NULL, "", 0);
	return 0;
}

int cluster_send(struct cluster *c, struct umbel_worker *to, const char *json, size_t len, int fd)
{
	struct umbel_worker *w;
	int sent = 0;

	if (to)
		return dialogue_send_user(to, json, len, fd);
	TAILQ_FOREACH (w, &c->workers, link)
		sent += dialogue_send_user(w, json, len, -1) == 0;
	return sent;
}

/* ---- the loop ---- */

bool cluster_is_over(const struct cluster *c)
{
	return c->stopping && TAILQ_EMPTY(&c->workers) && TAILQ_EMPTY(&c->events->queue);
}

void cluster_flush(struct cluster *c)
{
	struct umbel_worker *w;

	while ((w = TAILQ_FIRST(&c->dirty))) {
		TAILQ_REMOVE(&c->dirty, w, dirty_link);
		dialogue_flush(w);
	}
}

void cluster_turn(struct cluster *c, bool wait)
{
	uv_run(&c->loop, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

static void on_timer_readable(uv_poll_t *poll, int status, int events)
{
	/* The turn that calls this runs the timers too; arming it anew makes it unreadable. */
}

int cluster_fd(struct cluster *c)
{
	if (c->timer_fd < 0) {
		c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (c->timer_fd < 0)
			return -errno;
		uv_poll_init(&c->loop, &c->timer, c->timer_fd);
		uv_poll_start(&c->timer, UV_READABLE, on_timer_readable);
		cluster_touch(c);
	}
	return uv_backend_fd(&c->loop);
}

static void arm_timer(struct cluster *c, int ms)
{
	struct itimerspec when = {.it_value.tv_nsec = 0};

	if (ms >= 0) {
		when.it_value.tv_sec = ms / 1000;
		when.it_value.tv_nsec = ms % 1000 * 1000000L + 1; /* 0 would disarm */
	}
	timerfd_settime(c->timer_fd, 0, &when, NULL);
}

static bool has_something_to_do(struct cluster *c)
{
	struct pollfd p = {.fd = uv_backend_fd(&c->loop), .events = POLLIN};

	return uv_backend_timeout(&c->loop) == 0 || poll(&p, 1, 0) > 0;
}

void cluster_before_sleep(struct cluster *c)
{
	int quiet = 0;

	if (c->timer_fd < 0)
		return;
	arm_timer(c, -1);
	/* libuv tells the kernel what to watch at the beginning of a turn, and may find it ready in the
	 * same turn: only after two in which there was nothing is everything told. */
	for (int i = 0; i < QUIET_TURNS && quiet < 2; i++) {
		quiet = has_something_to_do(c) ? 0 : quiet + 1;
		uv_run(&c->loop, UV_RUN_NOWAIT);
		cluster_flush(c);
	}
	arm_timer(c, uv_backend_timeout(&c->loop));
	if (quiet < 2 || !TAILQ_EMPTY(&c->events->queue))
		uv_async_send(&c->wake);
}

static void on_wake(uv_async_t *async)
{
	struct cluster *c = async->data;

	if (atomic_exchange(&c->woken, false))
		events_add(c->events, UMBEL_WOKEN, NULL, "", 0);
}

void cluster_wake(struct cluster *c)
{
	atomic_store(&c->woken, true);
	uv_async_send(&c->wake);
}

void cluster_touch(struct cluster *c)
{
	cluster_flush(c);
	/* What libuv is to watch from now on it tells the kernel in its next turn. */
	if (c->timer_fd >= 0)
		uv_async_send(&c->wake);
}

static void on_signal(uv_poll_t *poll, int status, int events)
{
	struct cluster *c = poll->data;
	struct signalfd_siginfo info;
	int fd;

	if (uv_fileno((uv_handle_t *)poll, &fd) == 0 && read(fd, &info, sizeof(info)) == sizeof(info))
		cluster_stop(c);
}

void cluster_watch_signals(struct cluster *c, int signalfd)
{
	if (c->signals_watched)
		uv_close((uv_handle_t *)&c->signals, NULL);
	c->signals_watched = signalfd >= 0;
	if (signalfd < 0) {
		uv_run(&c->loop, UV_RUN_NOWAIT); /* the handle may be used again after its close */
		return;
	}
	uv_poll_init(&c->loop, &c->signals, signalfd);
	c->signals.data = c;
	uv_poll_start(&c->signals, UV_READABLE, on_signal);
}

/* ---- beginning and end ---- */

/* By path, so that a new worker runs what is there then. argv[0] may be relative to where we were. */
static char *find_own_path(void)
{
	static const char deleted[] = " (deleted)";
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	size_t tail = sizeof(deleted) - 1;

	if (n < 0)
		return NULL;
	if ((size_t)n > tail && memcmp(path + n - tail, deleted, tail) == 0)
		n -= (ssize_t)tail;
	return strndup(path, (size_t)n);
}

static void raise_limit(struct cluster *c)
{
	struct rlimit all;

	getrlimit(RLIMIT_NOFILE, &c->nofile);
	all = (struct rlimit){c->nofile.rlim_max, c->nofile.rlim_max};
	setrlimit(RLIMIT_NOFILE, &all);
}

int cluster_open(int argc, char **argv, struct events *events, struct reason *reason,
		 struct cluster **ret)
{
	static const struct umbel_settings defaults = UMBEL_SETTINGS;
	struct cluster *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->events = events;
	c->reason = reason;
	c->argc = argc;
	c->argv = argv;
	c->settings = defaults;
	c->timer_fd = -1;
	TAILQ_INIT(&c->workers);
	TAILQ_INIT(&c->dirty);
	err = uv_loop_init(&c->loop);
	if (err)
		goto out_free;
	err = uv_async_init(&c->loop, &c->wake, on_wake);
	if (err)
		goto out_loop;
	c->wake.data = c;
	uv_timer_init(&c->loop, &c->retry);
	c->retry.data = c;
	err = sharing_open(c);
	if (err)
		goto out_async;
	c->own_path = find_own_path();
	raise_limit(c);
	uv_run(&c->loop, UV_RUN_NOWAIT); /* from here on cluster_wake() is seen in uv_backend_fd() */
	*ret = c;
	return 0;

out_async:
	uv_close((uv_handle_t *)&c->wake, NULL);
	uv_close((uv_handle_t *)&c->retry, NULL);
	uv_run(&c->loop, UV_RUN_NOWAIT);
out_loop:
	uv_loop_close(&c->loop);
out_free:
	free(c);
	return err;
}

void cluster_close(struct cluster *c)
{
	struct umbel_worker *w;

	c->stopping = true;
	while ((w = TAILQ_FIRST(&c->workers)))
		worker_destroy(w);
	events_finish(c->events);
	sharing_close(c);
	uv_close((uv_handle_t *)&c->wake, NULL);
	uv_close((uv_handle_t *)&c->retry, NULL);
	if (c->timer_fd >= 0) {
		uv_close((uv_handle_t *)&c->timer, NULL);
		fd_close(&c->timer_fd);
	}
	uv_run(&c->loop, UV_RUN_DEFAULT);
	uv_loop_close(&c->loop);
	for (int i = 0; i < c->slot_count; i++) {
		strings_free(c->slots[i]->env);
		free(c->slots[i]);
	}
	free(c->slots);
	free(c->own_path);
	settings_finish(&c->settings);
	setrlimit(RLIMIT_NOFILE, &c->nofile);
	free(c);
}
