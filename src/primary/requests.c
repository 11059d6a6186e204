/* What the user asks a cluster for: cluster.h. Policies: switching.c. */
#include "life/activation.h"
#include "life/dialogue.h"
#include "life/worker.h"
#include "primary/cluster.h"
#include "program/settings.h"
#include "share/policy.h"

#include <errno.h>
#include <stdlib.h>

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
	slot->cluster = c;
	uv_timer_init(&c->loop, &slot->timer);
	slot->timer.data = slot;
	c->slots[c->slot_count++] = slot;
	return slot;
}

static struct slot *slot_lowest_empty(struct cluster *c)
{
	for (int i = 0; i < c->slot_count; i++)
		if (c->slots[i]->state == SLOT_EMPTY)
			return c->slots[i];
	if (c->slot_count == CLUSTER_MAX_SLOTS) {
		reason_set(c->reason, -EAGAIN, "all %d slots are taken", CLUSTER_MAX_SLOTS);
		return NULL;
	}
	return slot_new(c);
}

/* ---- the calls ---- */

/* Who accepts by itself is handed nothing, and nobody counts what it has. */
static int check_kind(struct cluster *c, const struct umbel_settings *s)
{
	if (c->crew.kind != KIND_INTERCEPT && c->crew.kind != KIND_LISTEN_FDS)
		return 0;
	if (policy_is_handed(s->policy))
		return reason_set(c->reason, -EINVAL, "settings.policy is %s: workers with --share %s accept by "
				  "themselves, nothing can be handed to them (spread, sticky and shared are possible)",
				  policy_name(s->policy), kind_name(c->crew.kind));
	if (s->max_connections || s->recycle_connections)
		return reason_set(c->reason, -EINVAL, "settings.%s: workers with --share %s accept by themselves, their "
				  "connections are not counted",
				  s->max_connections ? "max_connections" : "recycle_connections",
				  kind_name(c->crew.kind));
	return activation_check(s, c->crew.kind, c->reason);
}

int cluster_setup(struct cluster *c, const struct umbel_settings *s)
{
	struct umbel_settings copy;
	int err = check_kind(c, s);

	err = err ? err : settings_copy(s, &copy, c->reason);
	if (err)
		return err;
	settings_finish(&c->settings);
	c->settings = copy;
	spares_renew(c);
	return 0;
}

int cluster_fork(struct cluster *c, const char *exec, char *const *argv, char *const *env,
		 struct umbel_worker **ret)
{
	struct program program;
	struct umbel_worker *w;
	struct slot *slot;
	int err;

	if (c->stopping)
		return reason_set(c->reason, -ESHUTDOWN, "the cluster is stopping");
	slot = slot_lowest_empty(c);
	if (!slot)
		return c->slot_count == CLUSTER_MAX_SLOTS ? -EAGAIN : -ENOMEM;
	err = cluster_check_slots(c, slot->number);
	if (err)
		return err;
	err = program_copy(exec, argv, env, &program);
	if (err)
		return reason_set(c->reason, err, "out of memory");
	err = slot_want(slot, &program, c->settings.respawn, &w);
	if (!err && ret)
		*ret = w;
	return err;
}

int cluster_scale(struct cluster *c, int workers)
{
	int err = 0;

	if (workers < 0 || workers > CLUSTER_MAX_SLOTS)
		return reason_set(c->reason, -EINVAL, "%d workers: allowed are 0 to %d", workers,
				  CLUSTER_MAX_SLOTS);
	if (c->stopping)
		return reason_set(c->reason, -ESHUTDOWN, "the cluster is stopping");
	err = cluster_check_slots(c, workers);
	if (err)
		return err;
	cluster_note(c, 0, "scale", "%d worker%s, %d before", workers, workers == 1 ? "" : "s",
		     cluster_wanted(c));
	c->settings.respawn = true;
	for (int i = workers; i < c->slot_count; i++)
		slot_retire(c->slots[i]);
	for (int i = 0; i < workers && !err; i++) {
		struct slot *slot = i < c->slot_count ? c->slots[i] : slot_new(c);
		struct umbel_worker *w;

		if (!slot)
			return reason_set(c->reason, -ENOMEM, "out of memory");
		if (slot->state == SLOT_EMPTY || slot->state == SLOT_FAILED || slot->state == SLOT_RETIRED)
			err = slot_want(slot, &(struct program){0}, true, &w);
		slot->kept = !err;
	}
	cluster_slots_changed(c);
	return err;
}

int cluster_stop(struct cluster *c)
{
	struct umbel_worker *w;
	bool again = c->stopping;

	c->stopping = true;
	reload_stop(c);
	for (int i = 0; i < c->slot_count; i++)
		slot_retire(c->slots[i]);
	spares_update(c);
	if (!again)
		return 0;
	TAILQ_FOREACH (w, &c->crew.workers, link)
		worker_happens(w, WORKER_END);
	leftover_kill_all(&c->crew.sharing);
	return 0;
}

int cluster_disconnect(struct cluster *c, struct umbel_worker *w)
{
	bool any = false;

	if (w && w->is_spare)
		spares_end(w);
	for (int i = 0; i < c->slot_count; i++) {
		struct slot *slot = c->slots[i];

		if (w && slot->next == w)
			slot_keep(slot);
		if (w && slot->worker != w)
			continue;
		any |= slot->worker != NULL;
		slot_retire(slot);
	}
	if (!w && !any && TAILQ_EMPTY(&c->crew.workers))
		events_add(c->events, UMBEL_EMPTY, NULL, "", 0);
	cluster_slots_changed(c);
	return 0;
}

int cluster_send(struct cluster *c, struct umbel_worker *to, const char *json, size_t len, int fd)
{
	struct umbel_worker *w;
	int sent = 0;

	if (to)
		return dialogue_send_user(to, json, len, fd);
	TAILQ_FOREACH (w, &c->crew.workers, link)
		sent += dialogue_send_user(w, json, len, -1) == 0;
	return sent;
}
