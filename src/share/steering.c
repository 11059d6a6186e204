#include "share/steering.h"

#include "net/steer.h"
#include "share/policy.h"
#include "share/receiver.h"
#include "share/share.h"
#include "share/sharing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DOUBT_MS = 100 }; /* at most so often */

enum {
	TARGETS_MOST = BUCKETS_SLOTS, /* sockets that are steered to */
};

/* Who may be steered to: of the newest worker of each slot that takes the sockets that listen (mostly one; a program
 * may have several with SO_REUSEPORT); and which slots serve, also those that only take what is handed over. */
struct takers {
	bool serves[BUCKETS_SLOTS + 1];
	unsigned serving;
	uint32_t workers[BUCKETS_SLOTS + 1]; /* by slot: whose sockets those are; 0: nobody */
	unsigned first[BUCKETS_SLOTS + 2];   /* by slot: where they begin in targets; the next slot's: where they end */
	uint16_t targets[TARGETS_MOST];
	unsigned count;
	struct steer_probe probes[STEER_PROBES_MOST]; /* to those who are asked whether they are ready */
	unsigned probe_count;
};

static const struct subscription *seat_of(const struct share *s, uint32_t id)
{
	for (unsigned i = 0; i < s->seat_count; i++)
		if (s->seats[i].receiver->id == id)
			return &s->seats[i];
	return NULL;
}

static bool is_there(const struct share *s, const struct side *side)
{
	return side->owner && side->listens && &side->member != s->sides.moving;
}

static void find_probes(const struct share *s, struct takers *t)
{
	const struct receiver *r;
	const struct side *side;

	TAILQ_FOREACH (r, &s->sharing->receivers, link) { /* it may have a socket, and no seat yet */
		if (!r->probe_port)
			continue;
		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->owner == r->id && is_there(s, side) && t->probe_count < STEER_PROBES_MOST)
				t->probes[t->probe_count++] =
				    (struct steer_probe){r->probe_port, side->member.index};
	}
}

static bool is_probed(const struct takers *t, const struct side *side)
{
	for (unsigned i = 0; i < t->probe_count; i++)
		if (t->probes[i].target == side->member.index)
			return true;
	return false;
}

/* Its worker may be steered to, through this socket. */
static bool may_take(const struct share *s, const struct side *side)
{
	const struct subscription *seat;

	if (!is_there(s, side) || side->slot > BUCKETS_SLOTS)
		return false;
	seat = seat_of(s, side->owner);
	return seat && seat->receiver->takes;
}

static void find_newest(struct share *s, struct takers *t)
{
	const struct side *side;

	for (unsigned i = 0; i < s->seat_count; i++) {
		const struct receiver *r = s->seats[i].receiver;
		int slot = r->slot;

		if (!r->takes || slot < 1 || slot > BUCKETS_SLOTS)
			continue;
		t->serving += !t->serves[slot];
		t->serves[slot] = true;
	}
	TAILQ_FOREACH (side, &s->sides.list, link)
		if (may_take(s, side) && t->workers[side->slot] < side->owner)
			t->workers[side->slot] = side->owner;
}

static bool is_target(const struct share *s, const struct takers *t, const struct side *side)
{
	return is_there(s, side) && side->slot <= BUCKETS_SLOTS && t->workers[side->slot] == side->owner;
}

static void find_takers(struct share *s, struct takers *t)
{
	const struct side *side;

	memset(t, 0, sizeof(*t));
	find_newest(s, t);
	if (s->listener.address.kind == ADDRESS_TCP && !s->sides.rebuilds_ms)
		find_probes(s, t);
	for (int slot = 1; slot <= BUCKETS_SLOTS; slot++) {
		t->first[slot] = t->count;
		if (!t->workers[slot])
			continue;
		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->slot == slot && is_target(s, t, side) && t->count < TARGETS_MOST)
				t->targets[t->count++] = side->member.index;
	}
	t->first[BUCKETS_SLOTS + 1] = t->count;
}

/* All slots up to the last one that is wanted have homes, whether somebody serves there now or not: so a client
 * comes back. */
static int find_homes(struct share *s)
{
	struct steering *st = &s->steering;
	unsigned slots = BUCKETS_SLOTS;

	if (!st->homes)
		st->homes = calloc(1, sizeof(*st->homes));
	if (!st->homes)
		return -ENOMEM;
	while (slots > 0 && !sharing_wants_slot(s->sharing, (int)slots))
		slots--;
	if (st->homes->slots != slots)
		buckets_make(st->homes, slots);
	return 0;
}

/* Sockets of the buckets. */
static int plan_sticky(struct share *s, const struct takers *t, uint16_t ret[BUCKETS])
{
	int err = find_homes(s);

	if (err)
		return err;
	buckets_assign(s->steering.homes, t->serves, s->steering.slots);
	for (unsigned i = 0; i < BUCKETS; i++) {
		unsigned slot = s->steering.slots[i], first = t->first[slot], count = t->first[slot + 1] - first;

		/* Else the door: the primary hands it over, to that slot. */
		ret[i] = slot && count ? t->targets[first + i % count] : 0;
	}
	return 0;
}

/* plan NULL: as before, but for the probes. */
static int attach(struct share *s, const struct steer_plan *plan, const struct takers *t)
{
	struct sock_filter program[STEER_MAX];
	struct steering *st = &s->steering;
	unsigned prefix = steer_prefix(t->probes, t->probe_count, program);
	unsigned length = plan ? steer_program(plan, program + prefix) : st->length - st->prefix;
	size_t size;
	int err;

	if (!plan)
		memcpy(program + prefix, st->program + st->prefix, length * sizeof(*program));
	length += prefix;
	size = length * sizeof(*program);

	if (!st->doubted && length == st->length && memcmp(program, st->program, size) == 0)
		return 0;
	err = group_attach(&s->sides.group, program, length);
	if (err)
		return err;
	st->doubted = st->is_wrong = false;
	free(st->program);
	st->program = malloc(size);
	st->length = st->program ? length : 0;
	st->prefix = st->program ? prefix : 0;
	if (st->program)
		memcpy(st->program, program, size);
	return 0;
}

static int plan_and_attach(struct share *s, const struct takers *t)
{
	static const uint16_t first = 0;
	bool udp = s->listener.address.kind == ADDRESS_UDP;
	struct steer_plan plan = {STEER_TO_FIRST, &first, 1, NULL};
	uint16_t buckets[BUCKETS];
	int err = 0;

	if (t->serving == 0 && (udp || s->accept_alone) && s->steering.length && !s->steering.is_wrong &&
	    sharing_expects_workers(s->sharing)) /* where it went before it waits for a successor, who can take it */
		return t->probe_count || s->steering.prefix ? attach(s, NULL, t) : 0;
	if (t->serving > 0 && s->policy == UMBEL_STICKY) { /* for what the primary hands over, too */
		err = plan_sticky(s, t, buckets);
		plan = (struct steer_plan){STEER_CLIENT, NULL, 0, buckets};
	} else if (t->count > 0 && policy_is_steered(s->policy)) {
		plan = (struct steer_plan){udp ? STEER_FLOW : STEER_RANDOM, t->targets, t->count, NULL};
	}
	if (s->chooser || s->sides.rebuilds_ms)
		plan = (struct steer_plan){STEER_TO_FIRST, &first, 1, NULL};
	return err ? err : attach(s, &plan, t);
}

static void mark(struct share *s, const struct takers *t)
{
	bool steered = policy_is_steered(s->policy) && !s->chooser && !s->sides.rebuilds_ms;
	struct side *side;

	TAILQ_FOREACH (side, &s->sides.list, link)
		side->steered = (steered && is_target(s, t, side)) || is_probed(t, side);
	sides_arm(s);
}

void steering_update(struct share *s)
{
	struct takers t;
	int err;

	if (s->sides.group.count == 0)
		return;
	find_takers(s, &t);
	err = plan_and_attach(s, &t);
	if (!err)
		mark(s, &t);
	if (err && !s->steering.failed)
		events_add_note(s->sharing->events, 0, "steering", "%s: the kernel does not take the program that "
				"steers its connections: %s", s->address, strerror(-err));
	s->steering.failed = err;
}

void steering_doubt(struct share *s)
{
	uint64_t now = uv_now(s->sharing->loop);

	if (s->sides.group.count == 0 || now - s->steering.doubted_ms < DOUBT_MS)
		return;
	s->steering.doubted_ms = now;
	s->steering.doubted = true;
	steering_update(s);
}

void steering_update_all(struct sharing *sharing)
{
	struct share *s;

	TAILQ_FOREACH (s, &sharing->shares, link)
		steering_update(s);
}

void steering_finish(struct steering *st)
{
	free(st->program);
	free(st->homes);
	*st = (struct steering){0};
}
