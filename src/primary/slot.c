#include "primary/slot.h"

#include "life/ready.h"
#include "life/worker.h"
#include "primary/cluster.h"
#include "primary/limits.h"
#include "primary/reload.h"
#include "program/generation.h"
#include "program/settings.h"

#include <errno.h>
#include <stdio.h>

static void happens(struct slot *slot, enum slot_event event);

/* ---- starting ---- */

static void set_deadline(struct slot *slot, struct umbel_worker *w)
{
	ready_await(w, slot->kept || reload_is_running(slot->cluster));
}

static int start(struct slot *slot, struct generation *g, struct umbel_worker **ret)
{
	struct umbel_worker *w;
	int err = worker_start(&slot->cluster->crew, slot->number, &slot->program, g, &w);

	if (err)
		return err;
	w->slot = slot;
	set_deadline(slot, w);
	limits_begin(w);
	slot->cluster->told_failed = false;
	*ret = w;
	return 0;
}

static enum slot_event judge(struct slot *slot, const struct death *d)
{
	const struct umbel_settings *s = &slot->cluster->settings;
	struct death_rules rules = {s->min_up_ms, s->max_failures, s->restart, s->stop_codes};

	if (!slot->kept || slot->cluster->stopping)
		return SLOT_LEAVE;
	return life_judge(d, &rules, &slot->streak);
}

/* Whether it fails again however often it is tried, unlike memory and processes that are short. */
static bool program_is_to_blame(int error)
{
	static const int errors[] = {-ENOENT,	-EACCES, -EISDIR,	-ENOEXEC,
				     -ENOTDIR, -ELOOP,	 -ENAMETOOLONG, -ETXTBSY};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (error == errors[i])
			return true;
	return false;
}

/* False: there is none. */
static bool start_spare(struct slot *slot)
{
	struct umbel_worker *w = spares_take(slot);

	if (!w)
		return false;
	slot->worker = w;
	slot->start_error = 0;
	slot->cluster->told_failed = false;
	set_deadline(slot, w);
	spares_release(w); /* this last: it may be ready at once */
	return true;
}

/* Without a process the slot has the same choices as after a death. */
static void action_start(struct slot *slot)
{
	struct death d = {.code = -1, .signal = -1};
	struct cluster *c = slot->cluster;

	slot->due_ms = 0;
	if (start_spare(slot))
		return;
	slot->start_error = start(slot, slot->generation, &slot->worker);
	if (slot->start_error == 0)
		return;
	cluster_note(c, slot->number, "start", "%s", c->reason->text);
	d.has_no_program = program_is_to_blame(slot->start_error);
	d.not_started = !d.has_no_program;
	happens(slot, slot->on_request ? SLOT_LEAVE : judge(slot, &d));
}

static void action_start_over(struct slot *slot)
{
	struct umbel_worker *old = slot->worker;

	slot->worker = NULL;
	slot->leaving++;
	worker_ask(old);
	action_start(slot);
}

/* ---- the other actions ---- */

static void action_nothing(struct slot *slot)
{
}

static void on_due(uv_timer_t *timer)
{
	happens(timer->data, SLOT_DUE);
}

static void action_arm(struct slot *slot)
{
	struct cluster *c = slot->cluster;
	const struct streak *s = &slot->streak;
	unsigned ends = s->crashes > s->early ? s->crashes : s->early;
	uint32_t ms = life_backoff_ms(ends, crew_chance(&c->crew));

	slot->due_ms = uv_now(&c->loop) + ms;
	uv_timer_start(&slot->timer, on_due, ms, 0);
	cluster_note(c, slot->number, "backoff", "%u %s in a row, next start in %.1f s", ends,
		     s->crashes == ends ? "crashes" : "ends before ready", ms / 1000.0);
}

static void leave(struct slot *slot, struct umbel_worker **w)
{
	struct umbel_worker *leaver = *w;

	*w = NULL;
	if (!leaver)
		return;
	slot->leaving++;
	worker_ask(leaver);
}

static void action_adopt(struct slot *slot)
{
	struct umbel_worker *old = slot->worker;

	slot->worker = slot->next;
	slot->next = NULL;
	slot->recycling = false;
	slot->due_ms = 0;
	if (slot->worker->soaked)
		slot->streak = (struct streak){0};
	generation_unref(slot->generation);
	slot->generation = generation_ref(slot->worker->generation);
	/* This first: somebody has to take while the other leaves. */
	if (slot->worker->was_ready || !ready_is_withheld(&slot->cluster->settings))
		worker_set_takes(slot->worker, true);
	leave(slot, &old);
}

static void action_forget(struct slot *slot)
{
	slot->recycling = false;
	if (slot->worker)
		worker_set_takes(slot->worker, true);
	leave(slot, &slot->next);
}

static void action_ask_all(struct slot *slot)
{
	leave(slot, &slot->worker);
	leave(slot, &slot->next);
	slot->recycling = false;
	if (slot->leaving == 0)
		happens(slot, SLOT_LEAVE);
}

static void action_clear(struct slot *slot)
{
	uv_timer_stop(&slot->timer);
	slot->streak = (struct streak){0};
	cluster_lost_slot(slot->cluster);
}

static void action_tell_failed(struct slot *slot)
{
	cluster_note(slot->cluster, slot->number, "failed",
		     "%u workers in a row ended before they were ready", slot->streak.unready);
	cluster_lost_slot(slot->cluster);
}

/* The only place where a slot's state changes. */
static void happens(struct slot *slot, enum slot_event event)
{
	static void (*const actions[SLOT_ACTIONS])(struct slot *) = {
	    [SLOT_NOTHING] = action_nothing, [SLOT_START] = action_start,
	    [SLOT_START_NEXT] = action_nothing, /* done before: it may fail */
	    [SLOT_START_OVER] = action_start_over, [SLOT_ARM] = action_arm,
	    [SLOT_ADOPT] = action_adopt, [SLOT_FORGET] = action_forget,
	    [SLOT_ASK_ALL] = action_ask_all, [SLOT_CLEAR] = action_clear,
	    [SLOT_TELL_FAILED] = action_tell_failed,
	};
	struct slot_step step = life_of_slot(slot->state, event);

	slot->state = step.next;
	actions[step.action](slot);
}

/* ---- what the cluster wants ---- */

static void set_generation(struct slot *slot, struct generation *g)
{
	generation_ref(g);
	generation_unref(slot->generation);
	slot->generation = g;
}

int slot_want(struct slot *slot, struct program *program, bool kept, struct umbel_worker **ret)
{
	program_finish(&slot->program);
	slot->program = *program;
	*program = (struct program){0};
	set_generation(slot, slot->cluster->generation);
	uv_timer_stop(&slot->timer);
	slot->streak = (struct streak){0};
	slot->kept = kept;
	slot->on_request = true;
	happens(slot, SLOT_WANT);
	slot->on_request = false;
	if (slot->start_error) {
		slot->kept = false;
		return slot->start_error;
	}
	*ret = slot->worker;
	return 0;
}

void slot_retire(struct slot *slot)
{
	slot->kept = false;
	happens(slot, SLOT_RETIRE);
}

int slot_replace(struct slot *slot, struct generation *g)
{
	struct umbel_worker *w;
	int err = 0;

	slot->start_error = 0;
	switch (slot->state) {
	case SLOT_SERVING:
		err = start(slot, g, &w);
		if (err)
			return err;
		w->receiver.takes = false;
		slot->next = w;
		happens(slot, SLOT_REPLACE);
		break;
	case SLOT_FILLING:
		set_generation(slot, g);
		happens(slot, SLOT_REPLACE);
		break;
	case SLOT_BACKOFF:
	case SLOT_FAILED:
		set_generation(slot, g);
		slot->streak = (struct streak){0};
		uv_timer_stop(&slot->timer);
		happens(slot, SLOT_WANT);
		break;
	default:
		return -EINVAL;
	}
	return slot->start_error;
}

void slot_revert(struct slot *slot, struct generation *g)
{
	set_generation(slot, g);
	if (slot->worker && slot->worker->state == UMBEL_STATE_STARTING)
		happens(slot, SLOT_REPLACE);
}

void slot_try(struct slot *slot)
{
	worker_set_takes(slot->next, true); /* this first: somebody has to take */
	worker_set_takes(slot->worker, false);
}

void slot_turn(struct slot *slot)
{
	happens(slot, SLOT_TURN);
}

void slot_keep(struct slot *slot)
{
	happens(slot, SLOT_KEEP);
}

bool slot_is_wanted(const struct slot *slot)
{
	return slot->state != SLOT_EMPTY && slot->state != SLOT_RETIRED;
}

/* ---- what happens to workers ---- */

void slot_worker_ready(struct umbel_worker *w)
{
	struct slot *slot = w->slot;

	if (w != slot->worker)
		return;
	if (!slot->next) /* else it serves, or waits for who is on trial */
		worker_set_takes(w, true);
	happens(slot, SLOT_READY);
	spares_update(w->slot->cluster);
}

void slot_worker_soaked(struct umbel_worker *w)
{
	struct slot *slot = w->slot;

	if (w == slot->next && slot->recycling)
		slot_turn(slot);
	reload_consider(w->slot->cluster);
}

void slot_worker_proved(struct umbel_worker *w)
{
	if (w == w->slot->worker)
		w->slot->streak = (struct streak){0};
}

static void follow(struct slot *slot, const struct death *d)
{
	enum slot_event event = judge(slot, d);

	if (event == SLOT_REFILL || event == SLOT_WAIT)
		slot->restarts++;
	happens(slot, event);
}

/* The predecessor serves again at once, not when this one is dead. */
static void successor_leaves(struct umbel_worker *w)
{
	struct slot *slot = w->slot;

	if (!slot->recycling) {
		reload_worker_leaves(w);
		return;
	}
	slot_keep(slot);
	limits_put_off(slot);
}

/* Somebody has to serve meanwhile. One at a time: who leaves again and again must not fill the machine. */
void slot_worker_leaves(struct umbel_worker *w)
{
	const struct death d = {.code = 0, .signal = -1, .left = w->receiver.handed > 0, .was_ready = true,
				.ready_ms = (int64_t)(worker_now_ms() - w->ready_ms)};
	struct slot *slot = w->slot;

	if (w == slot->next) {
		successor_leaves(w);
		return;
	}
	if (w != slot->worker || slot->next || slot->leaving > 0 || !w->was_ready)
		return;
	slot->worker = NULL;
	slot->leaving++;
	follow(slot, &d);
	reload_consider(w->slot->cluster);
}

static void leaver_died(struct slot *slot)
{
	slot->leaving--;
	if (slot->leaving == 0 && slot->state == SLOT_RETIRED)
		happens(slot, SLOT_LEAVE);
}

static void successor_died(struct slot *slot)
{
	bool recycling = slot->recycling;

	slot->next = NULL;
	happens(slot, SLOT_KEEP);
	if (recycling)
		limits_put_off(slot);
}

static void worker_died(struct slot *slot, const struct death *d)
{
	slot->worker = NULL;
	if (slot->next)
		happens(slot, slot->next->state == UMBEL_STATE_READY ? SLOT_TURN : SLOT_INHERIT);
	else
		follow(slot, d);
}

void slot_worker_dead(struct umbel_worker *w, const struct death *d)
{
	struct cluster *c = w->slot->cluster;
	struct slot *slot = w->slot;

	if (w->is_spare) {
		spares_worker_dead(w, d);
		cluster_worker_gone(c);
		return;
	}
	reload_worker_dead(w, d); /* this first: who was who is not known afterwards */
	if (w == slot->next)
		successor_died(slot);
	else if (w == slot->worker)
		worker_died(slot, d);
	else
		leaver_died(slot);
	reload_consider(c);
	cluster_worker_gone(c);
}

void slot_recycle_due(struct umbel_worker *w)
{
	limits_consider(w->slot->cluster);
}
