#include "primary/cluster.h"

#include "base/fd.h"
#include "life/dialogue.h"
#include "life/worker.h"
#include "primary/limits.h"
#include "program/generation.h"
#include "program/settings.h"

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

enum { QUIET_TURNS = 16 }; /* at most, before the caller's loop has its turn again */

/* ---- who is there, who comes ---- */

bool cluster_expects_workers(const struct cluster *c)
{
	if (c->stopping)
		return false;
	if (c->settings.queue_when_empty)
		return true; /* the user will send somebody */
	for (int i = 0; i < c->slot_count; i++)
		if (life_is_expecting(c->slots[i]->state) && (c->slots[i]->kept || c->slots[i]->worker))
			return true;
	return false;
}

/* Somebody may come who serves what this one has closed. */
static bool expects_another(const struct cluster *c, const struct umbel_worker *w)
{
	if (c->stopping || c->settings.queue_when_empty)
		return !c->stopping;
	for (int i = 0; i < c->slot_count; i++) {
		const struct slot *slot = c->slots[i];

		if (!life_is_expecting(slot->state))
			continue;
		if (slot->kept)
			return true;
		if (slot->worker && slot->worker != w && slot->worker->state == UMBEL_STATE_STARTING)
			return true;
	}
	return false;
}

static bool is_slot_wanted(const struct cluster *c, int slot)
{
	return slot > 0 && slot <= c->slot_count && slot_is_wanted(c->slots[slot - 1]);
}

static bool is_slot_booting(const struct cluster *c, int slot)
{
	const struct umbel_worker *w = slot > 0 && slot <= c->slot_count ? c->slots[slot - 1]->worker : NULL;

	return w && w->state == UMBEL_STATE_STARTING;
}

int cluster_wanted(const struct cluster *c)
{
	int count = 0;

	for (int i = 0; i < c->slot_count; i++)
		count += slot_is_wanted(c->slots[i]);
	return count;
}

static unsigned count_failed(const struct cluster *c)
{
	unsigned count = 0;

	for (int i = 0; i < c->slot_count; i++)
		count += c->slots[i]->state == SLOT_FAILED;
	return count;
}

bool cluster_awaits_worker(const struct cluster *c)
{
	if (c->settings.queue_when_empty && cluster_wanted(c) == (int)count_failed(c))
		return !c->stopping;
	for (int i = 0; i < c->slot_count && !c->stopping; i++) {
		enum slot_state state = c->slots[i]->state;

		if (state == SLOT_FILLING || state == SLOT_REPLACING || state == SLOT_BACKOFF)
			return true;
	}
	return false;
}

void cluster_lost_slot(struct cluster *c)
{
	unsigned failed = count_failed(c);
	char why[128];

	if (cluster_expects_workers(c))
		return;
	sharing_close_orphans(&c->crew.sharing); /* nobody will come: who connects is to see that */
	if (failed == 0 || c->told_failed || c->stopping)
		return;
	c->told_failed = true;
	snprintf(why, sizeof(why), "%s: %u workers in a row ended before they were ready",
		 failed == 1 ? "its slot has failed" : "every slot has failed", c->settings.max_failures);
	events_add_failed(c->events, NULL, -ECANCELED, why);
}

void cluster_worker_gone(struct cluster *c)
{
	bool comes = false; /* who waits in a back-off */

	for (int i = 0; i < c->slot_count; i++)
		comes |= c->slots[i]->state == SLOT_BACKOFF;
	if (TAILQ_EMPTY(&c->crew.workers) && !comes)
		events_add(c->events, UMBEL_EMPTY, NULL, "", 0);
	limits_consider(c);
	spares_update(c);
}

/* ---- the loop ---- */

bool cluster_is_over(const struct cluster *c)
{
	return c->stopping && TAILQ_EMPTY(&c->crew.workers) &&
	       TAILQ_EMPTY(&c->crew.sharing.leftovers) && TAILQ_EMPTY(&c->events->queue);
}

void cluster_flush(struct cluster *c)
{
	struct receiver *r;

	while ((r = TAILQ_FIRST(&c->crew.sharing.dirty))) {
		TAILQ_REMOVE(&c->crew.sharing.dirty, r, dirty_link);
		dialogue_flush(r->worker);
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

	if (uv_fileno((uv_handle_t *)poll, &fd) < 0 || read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (signal_is_repeated(&c->last_signal, &info, uv_now(&c->loop)))
		return;
	/* From the kernel: the terminal is gone. */
	if (info.ssi_signo == SIGHUP && info.ssi_code != SI_KERNEL)
		reload_by_signal(c);
	else
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

static const struct sharing_asks asks = {
    .expects_workers = cluster_expects_workers,
    .awaits_worker = cluster_awaits_worker,
    .expects_another = expects_another,
    .is_slot_wanted = is_slot_wanted,
    .is_slot_booting = is_slot_booting,
    .wanted = cluster_wanted,
    .end_worker = dialogue_end,
};

static const struct crew_tells tells = {
    .held = spares_worker_held,
    .cannot_be_held = spares_worker_cannot,
    .ready = slot_worker_ready,
    .soaked = slot_worker_soaked,
    .proved = slot_worker_proved,
    .leaves = slot_worker_leaves,
    .is_due = slot_recycle_due,
    .dead = slot_worker_dead,
};

int cluster_open(int argc, char **argv, struct umbel *umbel, struct events *events, struct reason *reason,
		 struct cluster **ret)
{
	static const struct umbel_settings defaults = UMBEL_SETTINGS;
	struct cluster *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->events = events;
	c->reason = reason;
	c->settings = defaults;
	c->timer_fd = -1;
	c->crew = (struct crew){.tells = &tells, .loop = &c->loop, .events = events, .reason = reason,
				.settings = &c->settings, .argv = argv};
	c->crew.sharing = (struct sharing){.asks = &asks, .cluster = c, .loop = &c->loop, .umbel = umbel,
					   .events = events, .settings = &c->settings};
	err = uv_loop_init(&c->loop);
	if (err)
		goto out_free;
	err = uv_async_init(&c->loop, &c->wake, on_wake);
	if (err)
		goto out_loop;
	c->wake.data = c;
	uv_timer_init(&c->loop, &c->limits);
	c->limits.data = c;
	reload_open(c);
	spares_open(c);
	c->last_generation = 1;
	err = generation_create(NULL, 1, NULL, NULL, &c->generation);
	err = err ? err : crew_open(&c->crew);
	if (err)
		goto out_handles;
	uv_run(&c->loop, UV_RUN_NOWAIT); /* from here on cluster_wake() is seen in uv_backend_fd() */
	*ret = c;
	return 0;

out_handles:
	generation_unref(c->generation);
	reload_close(c);
	spares_close(c);
	uv_close((uv_handle_t *)&c->wake, NULL);
	uv_close((uv_handle_t *)&c->limits, NULL);
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
	while ((w = TAILQ_FIRST(&c->crew.workers)))
		worker_destroy(w);
	events_finish(c->events);
	sharing_close(&c->crew.sharing);
	reload_close(c);
	spares_close(c);
	uv_close((uv_handle_t *)&c->wake, NULL);
	uv_close((uv_handle_t *)&c->limits, NULL);
	for (int i = 0; i < c->slot_count; i++)
		uv_close((uv_handle_t *)&c->slots[i]->timer, NULL);
	if (c->timer_fd >= 0) {
		uv_close((uv_handle_t *)&c->timer, NULL);
		fd_close(&c->timer_fd);
	}
	uv_run(&c->loop, UV_RUN_DEFAULT);
	uv_loop_close(&c->loop);
	for (int i = 0; i < c->slot_count; i++) {
		program_finish(&c->slots[i]->program);
		generation_unref(c->slots[i]->generation);
		free(c->slots[i]);
	}
	free(c->slots);
	generation_unref(c->generation);
	settings_finish(&c->settings);
	crew_finish(&c->crew);
	free(c);
}
