#include "share/choice.h"

#include "base/proc.h"
#include "net/least.h"
#include "net/rotation.h"
#include "share/counting.h"
#include "share/handoff.h"
#include "share/receiver.h"
#include "share/share.h"
#include "share/sharing.h"

#include <sys/socket.h>

enum { SAMPLE_MS = 100, FORGET_AFTER_MS = 1000 };

struct seats {
	const struct share *share;
	const struct refusals *refused;
};

static int load_of(const void *of, unsigned seat)
{
	const struct seats *seats = of;
	const struct subscription *s = &seats->share->seats[seat];

	if (s->accepts || refusals_has(seats->refused, s->receiver->id))
		return ROTATION_FULL;
	return handoff_load(s->receiver);
}

/* ---- least ---- */

/* Libumbel's, and Node's that count: they say what they have done. False: it does not say. */
static bool read_sum(const struct receiver *r, struct least_sample *ret, unsigned *ret_active)
{
	struct scoreboard_view view;

	if (r->board) {
		scoreboard_read(r->board, &view);
		*ret = (struct least_sample){view.finished, view.service_us};
		*ret_active = view.active;
		return true;
	}
	if (!r->counting.known)
		return false;
	*ret = counting_sum(r);
	*ret_active = r->counting.since_us > 0;
	return true;
}

/* Who was slow and is given nothing would be slow for ever: it is forgotten bit by bit. */
static void sample_mean(struct pace *p, const struct least_sample *sum, unsigned active, uint64_t now)
{
	p->mean_us = least_mean(p->mean_us, &p->sum, sum, active);
	if (sum->finished != p->sum.finished) { /* else what runs counts from there on */
		p->sum = *sum;
		p->grew_ms = now;
	} else if (active == 0 && now - p->grew_ms > FORGET_AFTER_MS) {
		p->mean_us -= p->mean_us / 8;
	}
}

static void sample_cpu(struct pace *p, uint64_t ticks, uint64_t now)
{
	if (p->sampled_ms) { /* the last second's, as far as it was looked at */
		uint64_t elapsed = now - p->sampled_ms, weight = elapsed < 1000 ? elapsed : 1000;

		p->cpu = (p->cpu * (1000 - weight) + (ticks - p->ticks) * 1000000 / elapsed * weight) / 1000;
	}
	p->ticks = ticks;
}

/* Looked at again at times, and only while connections come. */
static void sample(struct receiver *r)
{
	struct pace *p = &r->pace;
	uint64_t now = uv_now(r->sharing->loop);
	struct least_sample sum;
	unsigned active;

	if (p->sampled_ms && now - p->sampled_ms < SAMPLE_MS)
		return;
	if (read_sum(r, &sum, &active))
		sample_mean(p, &sum, active, now);
	else
		sample_cpu(p, proc_cpu_ticks(r->pid), now);
	p->sampled_ms = now;
}

/* It has not answered as many as it may. A Node worker answers when it comes to it, in one go with others that are
 * queued: to pass it over for that would fill up the slow ones. */
static bool is_worth_waiting_for(const struct seats *seats, unsigned seat)
{
	const struct subscription *s = &seats->share->seats[seat];

	return s->receiver->counting.known && s->receiver->takes && !s->accepts &&
	       !refusals_has(seats->refused, s->receiver->id);
}

static enum least_room room_of(const struct seats *seats, unsigned seat)
{
	if (load_of(seats, seat) != ROTATION_FULL)
		return LEAST_FREE;
	return is_worth_waiting_for(seats, seat) ? LEAST_BUSY : LEAST_FULL;
}

static int choose_least(const struct seats *seats)
{
	const struct share *s = seats->share;
	struct least_candidate candidates[SHARING_MAX_SLOTS];
	unsigned count = s->seat_count < SHARING_MAX_SLOTS ? s->seat_count : SHARING_MAX_SLOTS;
	int best;

	for (unsigned i = 0; i < count; i++) {
		struct receiver *r = s->seats[i].receiver;
		bool known;

		candidates[i] = (struct least_candidate){.room = room_of(seats, i)};
		if (candidates[i].room == LEAST_FULL)
			continue;
		sample(r);
		candidates[i].in_hand = handoff_active(r, &known);
		candidates[i].mean_us = r->pace.mean_us;
		candidates[i].cpu = r->pace.cpu;
	}
	best = least_choose(candidates, count, s->last);
	return best >= 0 && candidates[best].room == LEAST_BUSY ? CHOICE_LATER : best;
}

int choice_any(struct share *s, const struct refusals *refused)
{
	struct seats seats = {s, refused};

	if (s->policy == UMBEL_LEAST)
		return choose_least(&seats);
	return rotation_choose(&seats, s->seat_count, s->last, load_of);
}

/* ---- once it is known ---- */

/* The newest of that slot (0: any) or id (0: any) that can take it; -1. */
static int find_seat(const struct seats *seats, int slot, uint32_t id)
{
	const struct share *s = seats->share;

	for (unsigned i = s->seat_count; i-- > 0;) {
		const struct receiver *r = s->seats[i].receiver;

		if ((slot == 0 || r->slot == slot) && (id == 0 || r->id == id) &&
		    load_of(seats, i) != ROTATION_FULL)
			return (int)i;
	}
	return -1;
}

static int slot_of_client(const struct share *s, int fd)
{
	struct sockaddr_storage client;
	socklen_t len = sizeof(client);

	if (getpeername(fd, (struct sockaddr *)&client, &len) < 0)
		return 0;
	return s->steering.slots[buckets_of_client((struct sockaddr *)&client)];
}

int choice_for(struct share *s, const struct pending *p, int otherwise)
{
	struct seats seats = {s, p->refusals};
	int seat = -1, slot;

	if (p->wanted)
		seat = find_seat(&seats, 0, p->wanted);
	if (seat < 0 && s->policy == UMBEL_STICKY && (slot = slot_of_client(s, p->fd)) > 0)
		seat = find_seat(&seats, slot, 0);
	return seat < 0 ? otherwise : seat;
}
