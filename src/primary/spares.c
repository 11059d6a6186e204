#include "primary/spares.h"

#include "life/dialogue.h"
#include "life/intercept.h"
#include "life/ready.h"
#include "life/worker.h"
#include "primary/cluster.h"
#include "primary/limits.h"
#include "program/generation.h"
#include "wire/node.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

enum {
	SOON_MS = 200,      /* a successor that has just been released is to have the CPU for itself */
	PATIENCE_MS = 5000, /* and one that boots */
	BOOTING_MOST = 4,   /* at a time, beside those who serve; one, when the last one died */
	LONG_MS = 1000,     /* one that was held for so long has not died in its boot */
};

/* ---- how many, and which ---- */

static bool may_take(const struct slot *slot)
{
	const struct program *p = &slot->program;

	return slot->kept && !p->exec && !p->argv && !p->env;
}

static unsigned wanted(const struct cluster *c)
{
	if (c->stopping || c->spares.unfit == c->generation->number)
		return 0;
	for (int i = 0; i < c->slot_count; i++)
		if (may_take(c->slots[i]) && life_is_expecting(c->slots[i]->state))
			return c->settings.spares;
	return 0;
}

/* It is neither asked to end nor dead. */
static bool is_usable(const struct umbel_worker *w, const struct generation *g)
{
	return w->is_spare && w->generation == g && !w->receiver.asked &&
	       (w->state == UMBEL_STATE_HELD || w->state == UMBEL_STATE_STARTING);
}

static unsigned count_usable(const struct cluster *c, bool booting)
{
	const struct umbel_worker *w;
	unsigned count = 0;

	TAILQ_FOREACH (w, &c->crew.workers, link)
		count += is_usable(w, c->generation) && (!booting || w->state == UMBEL_STATE_STARTING);
	return count;
}

void spares_end(struct umbel_worker *w)
{
	w->receiver.asked = w->asked_by_us = true;
	worker_happens(w, WORKER_END);
}

/* The youngest first: those before it are mostly held already. */
static void end_superfluous(struct cluster *c)
{
	unsigned most = wanted(c), count = 0;
	struct umbel_worker *w;

	TAILQ_FOREACH (w, &c->crew.workers, link) {
		if (!w->is_spare || w->state > UMBEL_STATE_HELD)
			continue;
		if (!is_usable(w, c->generation) || count == most)
			spares_end(w);
		else
			count++;
	}
}

/* ---- starting ---- */

static bool is_some_slot_filling(const struct cluster *c)
{
	for (int i = 0; i < c->slot_count; i++)
		if (c->slots[i]->kept && c->slots[i]->state == SLOT_FILLING)
			return true;
	return false;
}

static void on_timer(uv_timer_t *timer);

/* Never later than before. */
static void arm(struct cluster *c)
{
	struct spares *s = &c->spares;
	uint64_t now, ms = is_some_slot_filling(c) ? PATIENCE_MS : SOON_MS;

	uv_update_time(&c->loop);
	now = uv_now(&c->loop);
	if (s->due_ms > now + ms)
		ms = s->due_ms - now;
	if (!uv_is_active((uv_handle_t *)&s->timer) || uv_timer_get_due_in(&s->timer) > ms)
		uv_timer_start(&s->timer, on_timer, ms, 0);
}

uint32_t spares_delay_ms(unsigned ends, uint32_t chance)
{
	uint32_t ms = life_backoff_ms(ends, chance);

	return ms > SOON_MS ? ms : SOON_MS;
}

static void put_off(struct cluster *c)
{
	struct spares *s = &c->spares;

	uv_update_time(&c->loop);
	s->due_ms = uv_now(&c->loop) + spares_delay_ms(s->ends, crew_chance(&c->crew));
	uv_timer_stop(&s->timer);
}

static void cannot_be(struct cluster *c, const struct generation *g, const char *why)
{
	if (g != c->generation || c->spares.unfit == g->number)
		return;
	c->spares.unfit = g->number;
	if (c->settings.spares)
		cluster_note(c, 0, "spares", "%s", why);
	spares_update(c);
}

static int start_one(struct cluster *c)
{
	const struct umbel_settings *s = &c->settings;
	struct umbel_worker *w;
	struct slot *waiting = &c->spares.waiting;
	int err = worker_start(&c->crew, waiting->number, &waiting->program, c->generation, &w);

	if (err == -ENOTSUP) {
		cannot_be(c, c->generation, c->reason->text);
		return err;
	}
	if (err) {
		c->spares.ends++;
		cluster_note(c, 0, "spare", "%s", c->reason->text);
		put_off(c);
		return err;
	}
	w->slot = waiting;
	if (s->ready_ms)
		worker_deadline(w, DEADLINE_READY, s->ready_ms);
	limits_begin(w);
	return 0;
}

static void on_timer(uv_timer_t *timer)
{
	struct cluster *c = timer->data;
	unsigned count = count_usable(c, false), booting = count_usable(c, true), most = wanted(c);
	unsigned at_a_time = c->spares.ends ? 1 : BOOTING_MOST;

	while (count < most && booting < at_a_time && start_one(c) == 0) {
		count++;
		booting++;
	}
	/* When one of them is held, or dead, spares_update() is called again. */
	if (booting == 0 && count < wanted(c))
		arm(c);
}

void spares_update(struct cluster *c)
{
	struct spares *s = &c->spares;

	end_superfluous(c);
	if (count_usable(c, false) >= wanted(c))
		uv_timer_stop(&s->timer);
	else
		arm(c);
}

void spares_renew(struct cluster *c)
{
	struct umbel_worker *w;

	c->spares.unfit = 0;
	c->spares.ends = 0;
	c->spares.due_ms = 0;
	TAILQ_FOREACH (w, &c->crew.workers, link)
		if (w->is_spare && w->state <= UMBEL_STATE_HELD)
			spares_end(w);
	spares_update(c);
}

/* ---- into a slot ---- */

struct umbel_worker *spares_take(struct slot *slot)
{
	struct umbel_worker *w, *best = NULL;
	struct cluster *c = slot->cluster;

	if (!may_take(slot) || c->spares.unfit == slot->generation->number)
		return NULL;
	TAILQ_FOREACH (w, &c->crew.workers, link) {
		if (!is_usable(w, slot->generation))
			continue;
		/* One that still boots is nearer than one that has not begun. */
		if (!best || (best->state != UMBEL_STATE_HELD && w->state == UMBEL_STATE_HELD))
			best = w;
	}
	if (!best)
		return NULL;
	c->spares.ends = 0; /* it was of use */
	best->is_spare = false;
	best->slot = slot;
	best->program = &slot->program;
	best->receiver.slot = slot->number;
	arm(c);
	return best;
}

void spares_release(struct umbel_worker *w)
{
	struct cluster *c = w->slot->cluster;

	cluster_note(c, w->slot->number, "spare", "pid %d steps in%s", (int)w->receiver.pid,
		     w->state == UMBEL_STATE_HELD ? "" : ", it is still booting");
	worker_happens(w, WORKER_RELEASE);
	pidfd_send_signal(w->pidfd, SIGCONT, NULL, 0); /* it may have been stopped all that time */
	dialogue_release(w);
	intercept_release(w);
	if (w->serves)
		ready_serves(w);
	/* At once: whatever else is to be done in this turn, a process to be forked among it, takes longer. */
	cluster_flush(c);
}

/* ---- what happens to them ---- */

void spares_worker_held(struct umbel_worker *w)
{
	w->held_ms = worker_now_ms();
	worker_no_deadline(w, DEADLINE_READY);
	cluster_note(w->slot->cluster, 0, "spare", "pid %d is held", (int)w->receiver.pid);
	if (w->receiver.has_preload)
		receiver_send(&w->receiver, NODE_WARM_TEXT, strlen(NODE_WARM_TEXT), -1, 0);
	spares_update(w->slot->cluster);
}

void spares_worker_cannot(struct umbel_worker *w, const char *why)
{
	cannot_be(w->slot->cluster, w->generation, why);
}

static void describe(const struct umbel_worker *w, const struct death *d, char *out, size_t size)
{
	const char *name = d->signal >= 0 ? sigabbrev_np(d->signal) : NULL;

	if (w->receiver.asked)
		snprintf(out, size, "said that it leaves");
	else if (d->has_no_program)
		snprintf(out, size, "could not be started: %s: %s", w->exec_step, strerror(w->exec_error));
	else if (d->late)
		snprintf(out, size, "did not listen in %.1f s", w->slot->cluster->settings.ready_ms / 1000.0);
	else if (d->signal >= 0)
		snprintf(out, size, "was killed by SIG%s", name ? name : "?");
	else
		snprintf(out, size, "exited with %d", d->code);
}

void spares_worker_dead(struct umbel_worker *w, const struct death *d)
{
	struct cluster *c = w->slot->cluster;
	struct spares *s = &c->spares;
	char how[128];

	if (!d->asked && !c->stopping) {
		if (w->held_ms && worker_now_ms() - w->held_ms >= LONG_MS)
			s->ends = 0;
		s->ends++;
		put_off(c);
		describe(w, d, how, sizeof(how));
		cluster_note(c, 0, "spare", "pid %d %s; the next one is started in %.1f s", (int)w->receiver.pid,
			     how, (double)(s->due_ms - uv_now(&c->loop)) / 1000);
	}
	spares_update(c);
}

void spares_check_limits(struct cluster *c)
{
	struct umbel_worker *w;
	char why[96];

	TAILQ_FOREACH (w, &c->crew.workers, link)
		if (w->is_spare && w->state == UMBEL_STATE_HELD && limits_is_over(w, why, sizeof(why))) {
			cluster_note(c, 0, "spare", "pid %d is replaced: %s", (int)w->receiver.pid, why);
			spares_end(w);
		}
}

/* ---- the whole ---- */

void spares_open(struct cluster *c)
{
	c->spares.waiting.cluster = c;
	uv_timer_init(&c->loop, &c->spares.timer);
	c->spares.timer.data = c;
}

void spares_close(struct cluster *c)
{
	uv_close((uv_handle_t *)&c->spares.timer, NULL);
}
