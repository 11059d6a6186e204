#include "primary/reload.h"

#include "life/worker.h"
#include "primary/cluster.h"
#include "primary/limits.h"
#include "program/generation.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void act(struct cluster *c);

/* ---- where each slot stands ---- */

static enum plan_place place_of_old(const struct slot *slot)
{
	if (slot->leaving)
		return PLAN_BUSY; /* one predecessor at a time */
	/* One that is about to serve is not given up for one that nobody knows yet, unless nothing would
	 * ever say that it does not come up. */
	if (slot->state == SLOT_FILLING && slot->cluster->settings.ready_ms)
		return PLAN_BOOTING;
	return PLAN_OLD;
}

static enum plan_place place_of(const struct slot *slot, const struct generation *g)
{
	const struct umbel_worker *w = slot->worker;

	if (!slot_is_wanted(slot))
		return PLAN_ABSENT;
	if (slot->recycling)
		return PLAN_BUSY;
	if (slot->next) {
		if (slot->next->receiver.takes)
			return PLAN_ON_TRIAL;
		return slot->next->soaked ? PLAN_SOAKED : PLAN_COMING;
	}
	if (slot->generation != g)
		return place_of_old(slot);
	if (!w || !w->soaked)
		return PLAN_COMING;
	return slot->leaving ? PLAN_LEAVING : PLAN_NEW;
}

static unsigned count_wanted(const struct cluster *c)
{
	unsigned count = 0;

	for (int i = 0; i < c->slot_count; i++)
		count += slot_is_wanted(c->slots[i]);
	return count;
}

/* ---- the end ---- */

static void finish(struct cluster *c)
{
	struct reload *r = &c->reload;
	struct queued_event *e;
	bool again = r->again;

	uv_timer_stop(&r->hold);
	r->running = false;
	if (!r->error)
		snprintf(r->why, sizeof(r->why), "generation %u serves, after %.1f s",
			 r->generation->number, (double)(uv_now(&c->loop) - r->started_ms) / 1000);
	r->hold_until_ms = 0;
	e = events_add(c->events, UMBEL_RELOADED, NULL, r->why, strlen(r->why));
	if (e) {
		e->event.result.error = r->error;
		e->event.result.why = e->text;
		e->event.result.generation = r->generation->number;
	}
	if (!r->error) {
		generation_unref(c->generation);
		c->generation = generation_ref(r->generation);
	}
	generation_unref(r->generation);
	r->generation = NULL;
	r->again = false;
	if (again && !c->stopping)
		reload_begin(c, 0, 0, NULL, NULL);
	limits_consider(c);
	spares_update(c); /* of the generation that serves now */
}

static bool is_kept(const struct slot *slot, const struct generation *g)
{
	return slot->generation == g && slot->worker && slot->worker->state == UMBEL_STATE_READY;
}

/* Slots that keep the new generation, because their predecessor has left. */
static void name_the_kept(const struct cluster *c, char *text, size_t size)
{
	size_t len = 0;
	int count = 0;

	text[0] = '\0';
	for (int i = 0; i < c->slot_count && len < size; i++)
		if (is_kept(c->slots[i], c->reload.generation))
			len += (size_t)snprintf(text + len, size - len, "%s%d",
						count++ ? ", " : "; kept by slot ", c->slots[i]->number);
	if (count && len < size)
		snprintf(text + len, size - len, ", where the predecessor had left");
}

/* What had no predecessor to go back to and does not serve yet: from the old generation again. */
static void undo_slot(struct cluster *c, struct slot *slot)
{
	if (slot->next && !slot->recycling)
		slot_keep(slot);
	else if (slot->generation == c->reload.generation && !is_kept(slot, c->reload.generation))
		slot_revert(slot, c->generation);
}

static void undo(struct cluster *c, int error, const char *why)
{
	struct reload *r = &c->reload;
	char kept[200];

	if (r->undoing)
		return;
	r->undoing = true;
	r->error = error;
	uv_timer_stop(&r->hold);
	for (int i = 0; i < c->slot_count; i++)
		undo_slot(c, c->slots[i]);
	name_the_kept(c, kept, sizeof(kept));
	snprintf(r->why, sizeof(r->why), "%.300s%s", why, kept);
}

/* Those who were to take over are gone. */
static bool is_undone(const struct cluster *c)
{
	const struct umbel_worker *w;

	TAILQ_FOREACH (w, &c->crew.workers, link)
		if (w->generation == c->reload.generation && w != w->slot->worker)
			return false;
	return true;
}

/* ---- its steps ---- */

static void on_hold_over(uv_timer_t *timer)
{
	struct cluster *c = timer->data;

	cluster_note(c, 0, "reload", "the hold is over: the rest follows");
	c->reload.phase = PLAN_REST;
	c->reload.hold_until_ms = 0;
	act(c);
}

static void pause_there(struct cluster *c)
{
	struct reload *r = &c->reload;

	r->phase = PLAN_HOLD;
	if (r->hold_ms == 0) {
		cluster_note(c, 0, "reload", "hold: until 'umbel reload' is told --continue or --undo");
		return;
	}
	cluster_note(c, 0, "reload", "hold: for %.1f s", r->hold_ms / 1000.0);
	r->hold_until_ms = uv_now(&c->loop) + r->hold_ms;
	uv_timer_start(&r->hold, on_hold_over, r->hold_ms, 0);
}

static void begin_slot(struct cluster *c, struct slot *slot)
{
	char why[600];

	if (slot_replace(slot, c->reload.generation) == 0)
		return;
	snprintf(why, sizeof(why), "slot %d: %.500s", slot->number, c->reason->text);
	undo(c, -EAGAIN, why);
}

/* False: nothing to do now. */
static bool take_step(struct cluster *c, struct plan_step step)
{
	struct slot *slot = step.slot >= 0 ? c->slots[step.slot] : NULL;

	switch (step.action) {
	case PLAN_BEGIN:
		begin_slot(c, slot);
		return true;
	case PLAN_TRY:
		cluster_note(c, slot->number, "trial", "pid %d serves on trial, pid %d waits",
			     (int)slot->next->receiver.pid, (int)slot->worker->receiver.pid);
		slot_try(slot);
		return true;
	case PLAN_TURN:
		cluster_note(c, slot->number, "turn", "pid %d takes over from pid %d",
			     (int)slot->next->receiver.pid, (int)slot->worker->receiver.pid);
		slot_turn(slot);
		return true;
	case PLAN_PAUSE:
		pause_there(c);
		return false;
	case PLAN_DONE:
		finish(c);
		return false;
	case PLAN_WAIT:
		break;
	}
	return false;
}

static struct plan_step look(struct cluster *c)
{
	enum plan_place places[CLUSTER_MAX_SLOTS];
	struct reload *r = &c->reload;
	struct plan p = {
	    .phase = r->phase,
	    .places = places,
	    .count = c->slot_count,
	    .surge = c->settings.surge,
	    .all_or_nothing = c->settings.surge == UMBEL_SURGE_ALL,
	    .canaries = r->canaries,
	};

	for (int i = 0; i < c->slot_count; i++)
		places[i] = place_of(c->slots[i], r->generation);
	return plan_next(&p);
}

static void act(struct cluster *c)
{
	struct reload *r = &c->reload;

	while (r->running && !r->undoing)
		if (!take_step(c, look(c)))
			return;
	if (r->running && is_undone(c))
		finish(c);
}

static void on_consider(uv_idle_t *idle)
{
	struct cluster *c = idle->data;

	uv_idle_stop(idle);
	act(c);
	limits_consider(c);
}

/* Not within whatever has changed: a slot may be in the middle of its own step. */
void reload_consider(struct cluster *c)
{
	uv_idle_start(&c->reload.consider, on_consider);
}

static void describe(const struct umbel_worker *w, const struct death *d, char *text, size_t size)
{
	char how[128];

	if (d->has_no_program)
		snprintf(how, sizeof(how), "could not be started: %s: %s", w->exec_step,
			 strerror(w->exec_error));
	else if (d->late)
		snprintf(how, sizeof(how), "was not ready in %.1f s",
			 w->slot->cluster->settings.ready_ms / 1000.0);
	else if (d->signal >= 0)
		snprintf(how, sizeof(how), "was killed by SIG%s", sigabbrev_np(d->signal)
			 ? sigabbrev_np(d->signal) : "?");
	else
		snprintf(how, sizeof(how), "exited with %d", d->code);
	snprintf(text, size, "slot %d: the new worker (pid %d) %s%s", w->slot->number, (int)w->receiver.pid, how,
		 d->late || d->has_no_program ? ""
		 : d->was_ready		      ? ", after it was ready"
		 : d->code == 0 ? ", before it was ready (umbel is for servers: it never listened)"
				: ", before it was ready");
}

void reload_worker_dead(struct umbel_worker *w, const struct death *d)
{
	struct reload *r = &w->slot->cluster->reload;
	char why[256];

	if (!r->running || r->undoing || w->generation != r->generation || d->asked)
		return;
	/* One that was killed from outside after its predecessor had left only needs a successor. */
	if (w != w->slot->next && !life_is_crash(d, w->slot->cluster->settings.min_up_ms))
		return;
	describe(w, d, why, sizeof(why));
	undo(w->slot->cluster, -ECANCELED, why);
}

void reload_worker_leaves(struct umbel_worker *w)
{
	char why[128];

	snprintf(why, sizeof(why), "slot %d: the new worker (pid %d) leaves by its own wish",
		 w->slot->number, (int)w->receiver.pid);
	undo(w->slot->cluster, -ECANCELED, why);
	reload_consider(w->slot->cluster);
}

/* ---- what the user asks for ---- */

int reload_begin(struct cluster *c, unsigned canary, uint32_t hold_ms, char *const *base, char *const *more)
{
	struct reload *r = &c->reload;
	unsigned wanted = count_wanted(c);
	int err;

	if (c->stopping)
		return reason_set(c->reason, -ESHUTDOWN, "the cluster is stopping");
	if (r->running)
		return reason_set(c->reason, -EBUSY, "a reload is running");
	err = generation_create(c->generation, c->last_generation + 1, base, more, &r->generation);
	if (err)
		return reason_set(c->reason, err, "out of memory");
	c->last_generation++;
	r->running = true;
	r->undoing = false;
	r->error = 0;
	r->why[0] = '\0';
	r->canaries = canary;
	r->phase = canary > 0 && wanted > 0 ? PLAN_CANARY : PLAN_REST;
	r->hold_ms = hold_ms;
	r->started_ms = uv_now(&c->loop);
	cluster_note(c, 0, "reload", "generation %u: %u worker%s", r->generation->number, wanted,
		     wanted == 1 ? "" : "s");
	reload_consider(c);
	return 0;
}

void reload_by_signal(struct cluster *c)
{
	if (c->reload.running)
		c->reload.again = true;
	else
		reload_begin(c, 0, 0, NULL, NULL);
}

int reload_end(struct cluster *c, bool undo_it)
{
	struct reload *r = &c->reload;

	if (!r->running || r->undoing)
		return reason_set(c->reason, -ENOENT, "no reload is running");
	if (undo_it) {
		undo(c, -ECANCELED, "undone by request");
	} else if (r->phase != PLAN_HOLD) {
		return reason_set(c->reason, -EAGAIN, "the reload does not hold now");
	} else {
		uv_timer_stop(&r->hold);
		r->hold_until_ms = 0;
		r->phase = PLAN_REST;
		cluster_note(c, 0, "reload", "continued by request");
	}
	reload_consider(c);
	return 0;
}

void reload_stop(struct cluster *c)
{
	struct reload *r = &c->reload;

	if (!r->running)
		return;
	r->again = false;
	undo(c, -ESHUTDOWN, "the cluster is stopping");
	finish(c);
}

bool reload_is_running(const struct cluster *c)
{
	return c->reload.running;
}

const char *reload_phase(const struct cluster *c)
{
	static const char *const words[] = {
	    [PLAN_CANARY] = "canary", [PLAN_HOLD] = "hold", [PLAN_REST] = "rolling"};

	if (!c->reload.running)
		return NULL;
	return c->reload.undoing ? "undo" : words[c->reload.phase];
}

void reload_open(struct cluster *c)
{
	uv_timer_init(&c->loop, &c->reload.hold);
	uv_idle_init(&c->loop, &c->reload.consider);
	c->reload.hold.data = c->reload.consider.data = c;
}

void reload_close(struct cluster *c)
{
	generation_unref(c->reload.generation);
	uv_close((uv_handle_t *)&c->reload.hold, NULL);
	uv_close((uv_handle_t *)&c->reload.consider, NULL);
}
