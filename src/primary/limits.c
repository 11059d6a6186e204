#include "primary/limits.h"

#include "base/proc.h"
#include "life/worker.h"
#include "primary/cluster.h"
#include "primary/reload.h"

#include <stdio.h>

enum { PUT_OFF_MS = 30000 };

uint64_t limits_spread(uint64_t limit, uint32_t chance)
{
	return limit - chance % (limit / 10 + 1);
}

uint64_t limits_period_ms(unsigned workers)
{
	return 1000 + 10ULL * workers; /* reading one costs about 10 us */
}

bool limits_is_over(const struct umbel_worker *w, char *why, size_t size)
{
	const struct umbel_settings *s = &w->slot->cluster->settings;
	uint64_t age = worker_now_ms() - w->started_ms, bytes;

	if (s->recycle_age_ms && age >= limits_spread(s->recycle_age_ms, w->chance)) {
		snprintf(why, size, "it is %.1f s old", (double)age / 1000);
		return true;
	}
	if (s->recycle_connections && w->receiver.handed >= limits_spread(s->recycle_connections, w->chance)) {
		snprintf(why, size, "it was handed %llu connections", (unsigned long long)w->receiver.handed);
		return true;
	}
	bytes = s->recycle_bytes ? proc_resident_bytes(w->receiver.pid) : 0;
	if (bytes == 0 || bytes < limits_spread(s->recycle_bytes, w->chance))
		return false;
	snprintf(why, size, "it uses %.1f MiB", (double)bytes / (1 << 20));
	return true;
}

static bool recycle(struct slot *slot)
{
	struct cluster *c = slot->cluster;
	char why[96];

	if (slot->state != SLOT_SERVING || slot->worker->state != UMBEL_STATE_READY || !slot->kept ||
	    uv_now(&c->loop) < slot->due_ms || !limits_is_over(slot->worker, why, sizeof(why)))
		return false;
	cluster_note(c, slot->number, "recycle", "pid %d is recycled: %s", (int)slot->worker->receiver.pid, why);
	slot->recycling = true;
	if (slot_replace(slot, slot->generation) == 0)
		return true;
	slot->recycling = false;
	limits_put_off(slot);
	return false;
}

void limits_consider(struct cluster *c)
{
	const struct umbel_settings *s = &c->settings;
	unsigned now = 0;

	if (c->stopping || reload_is_running(c) ||
	    (!s->recycle_bytes && !s->recycle_age_ms && !s->recycle_connections))
		return;
	spares_check_limits(c);
	for (int i = 0; i < c->slot_count; i++)
		now += c->slots[i]->recycling || c->slots[i]->leaving > 0;
	for (int i = 0; i < c->slot_count && now < s->surge; i++)
		now += recycle(c->slots[i]);
}

void limits_put_off(struct slot *slot)
{
	slot->due_ms = uv_now(&slot->cluster->loop) + PUT_OFF_MS;
	if (slot->worker)
		worker_deadline(slot->worker, DEADLINE_AGE, PUT_OFF_MS);
	cluster_note(slot->cluster, slot->number, "recycle",
		     "the successor did not come up: tried again in %d s", PUT_OFF_MS / 1000);
}

static void on_tick(uv_timer_t *timer)
{
	struct cluster *c = timer->data;
	unsigned workers = 0;
	struct umbel_worker *w;

	TAILQ_FOREACH (w, &c->crew.workers, link)
		workers++;
	limits_consider(c);
	if (workers > 0)
		uv_timer_start(timer, on_tick, limits_period_ms(workers), 0);
}

void limits_begin(struct umbel_worker *w)
{
	const struct umbel_settings *s = &w->slot->cluster->settings;

	if (s->recycle_age_ms)
		worker_deadline(w, DEADLINE_AGE, limits_spread(s->recycle_age_ms, w->chance));
	if ((s->recycle_bytes || s->recycle_connections) &&
	    !uv_is_active((uv_handle_t *)&w->slot->cluster->limits))
		uv_timer_start(&w->slot->cluster->limits, on_tick, limits_period_ms(0), 0);
}
