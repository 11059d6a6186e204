/* What the command needs of a primary beyond umbel.h. */
#include "private.h"

#include "base/fd.h"
#include "facade.h"
#include "life/worker.h"
#include "program/generation.h"
#include "program/settings.h"
#include "program/spawn.h"
#include "share/handoff.h"
#include "share/policy.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

int private_set_share(struct umbel *u, const char *share)
{
	return kind_from_name(share, &u->cluster->crew.kind);
}

void private_kind_info(const struct umbel *u, struct umbel_kind_info *ret)
{
	const struct umbel_worker *w = TAILQ_LAST(&u->cluster->crew.workers, workers);

	ret->share = kind_name(w ? w->kind : u->cluster->crew.kind);
	ret->why = w ? w->kind_why : "no worker is there";
}

int private_check_program(struct umbel *u)
{
	const struct umbel_settings *s = &u->cluster->settings;
	char path[PATH_MAX];
	int err = spawn_find(s->exec, s->cwd, path, sizeof(path));

	return err ? reason_set(&u->reason, err, "cannot execute %s: %s", s->exec, strerror(-err)) : 0;
}

int private_take_stdio(struct umbel_worker *w, int stdio)
{
	return fd_steal(&w->stdio[stdio]);
}

struct uv_loop_s *private_loop(struct umbel *u)
{
	return &u->cluster->loop;
}

const char *private_policy_name(enum umbel_policy p)
{
	return policy_name(p);
}

bool private_policy_from_name(const char *name, enum umbel_policy *ret)
{
	return policy_from_name(name, ret);
}

const char *private_policy(const struct umbel *u)
{
	return policy_name(settings_policy(&u->cluster->settings));
}

void private_each_listener(const struct umbel *u, umbel_listener_visit *f, void *data)
{
	struct share *s;

	TAILQ_FOREACH (s, &u->cluster->crew.sharing.shares, link) {
		struct umbel_listener_info info = {
		    .address = s->address,
		    .policy = policy_name(s->policy),
		    .share = s,
		    .workers = s->seat_count,
		    .pending = s->pending_count + s->parked_count,
		    .queued = sides_waiting(s, 0),
		};

		for (unsigned i = 0; i < s->seat_count; i++) {
			info.handed += s->seats[i].handed;
			info.skipped += s->seats[i].skipped;
			info.refused += s->seats[i].refused;
		}
		f(&info, data);
	}
}

static int64_t active_of(const struct umbel_worker *w)
{
	bool known;
	unsigned active = handoff_active(&w->receiver, &known);

	return known ? (int64_t)active : -1;
}

void private_each_seat(const struct umbel_listener_info *listener, umbel_seat_visit *f, void *data)
{
	const struct share *s = listener->share;

	for (unsigned i = 0; i < s->seat_count; i++) {
		const struct subscription *seat = &s->seats[i];
		const struct side *side = sides_find(s, seat->receiver);
		struct umbel_seat_info info = {
		    .slot = seat->receiver->slot,
		    .id = seat->receiver->id,
		    .counted = !seat->accepts,
		    .handed = seat->handed,
		    .skipped = seat->skipped,
		    .refused = seat->refused,
		    .active = active_of(seat->receiver->worker),
		    .queued = sides_waiting(s, seat->receiver->slot),
		    .steered = side && side->steered,
		};

		f(&info, data);
	}
}

bool private_clients(const struct umbel *u, const struct umbel_listener_info *listener,
		     struct umbel_clients_info *ret)
{
	const struct share *s = listener->share;
	struct diag *d = u->cluster->crew.sharing.diag;
	struct diag_clients clients;

	if (!d || s->listener.address.kind != ADDRESS_TCP ||
	    diag_clients(d, s->listener.address.port, true, &clients) < 0)
		return false;
	ret->connections = clients.connections;
	ret->busiest = clients.busiest;
	snprintf(ret->address, sizeof(ret->address), "%s", clients.address);
	return true;
}

/* Wherever it serves. */
static bool accepts_alone(const struct umbel_worker *w)
{
	const struct share *s;
	bool any = false;

	TAILQ_FOREACH (s, &w->slot->cluster->crew.sharing.shares, link) {
		int seat = share_seat_of(s, &w->receiver);

		if (seat >= 0 && !s->seats[seat].accepts)
			return false;
		any |= seat >= 0;
	}
	return any;
}

void private_worker_info(const struct umbel_worker *w, struct umbel_worker_info *ret)
{
	const struct receiver *to = &w->receiver;

	*ret = (struct umbel_worker_info){
	    .restarts = w->slot->restarts,
	    .up_ms = (int64_t)(worker_now_ms() - w->started_ms),
	    .counted = w->receiver.handed || !accepts_alone(w),
	    .handed = w->receiver.handed,
	    .active = active_of(w),
	    .queued = handoff_has_lane(to) ? lane_waiting(to->lane_far) : (unsigned)to->unanswered,
	    .kind = kind_name(w->kind),
	    .takes = w->receiver.takes && w->state == UMBEL_STATE_READY,
	    .has_no_program = w->exec_error,
	    .status = w->status,
	};
}

void private_each_slot(const struct umbel *u, umbel_slot_visit *f, void *data)
{
	const struct cluster *c = u->cluster;

	for (int i = 0; i < c->slot_count; i++) {
		const struct slot *slot = c->slots[i];
		int64_t left = (int64_t)(slot->due_ms - uv_now(&c->loop));
		struct umbel_slot_info info = {
		    .slot = slot->number,
		    .state = life_slot_state(slot->state),
		    .restarts = slot->restarts,
		    .crashes = slot->streak.crashes,
		    .next_start_ms = slot->state != SLOT_BACKOFF ? -1 : left > 0 ? left : 0,
		};

		f(&info, data);
	}
}

int private_wanted(const struct umbel *u)
{
	return cluster_wanted(u->cluster);
}

uint32_t private_generation(const struct umbel *u)
{
	return u->cluster->generation->number;
}

void private_reload_info(const struct umbel *u, struct umbel_reload_info *ret)
{
	const struct reload *r = &u->cluster->reload;

	*ret = (struct umbel_reload_info){.phase = reload_phase(u->cluster), .hold_left_ms = -1};
	if (!r->running)
		return;
	ret->generation = r->generation->number;
	if (r->hold_until_ms)
		ret->hold_left_ms = (int64_t)(r->hold_until_ms - uv_now(&u->cluster->loop));
}

int private_reload(struct umbel *u, unsigned canary, uint32_t hold_ms, char *const *base,
		   char *const *more)
{
	if (!u->cluster)
		return facade_wrong_role(u);
	return facade_touched(u, reload_begin(u->cluster, canary, hold_ms, base, more));
}

void private_reload_by_signal(struct umbel *u)
{
	reload_by_signal(u->cluster);
}

void private_on_note(struct umbel *u, private_note *f, void *data)
{
	u->events.note = f;
	u->events.note_data = data;
}
