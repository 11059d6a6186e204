#include "share/share.h"

#include "base/fd.h"
#include "net/rotation.h"
#include "share/choice.h"
#include "share/chooser.h"
#include "share/handoff.h"
#include "share/policy.h"
#include "share/sharing.h"
#include "wire/node.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROUND = 32,      /* connections accepted before other descriptors have their turn */
	AGAIN_MS = 1000, /* until it is looked again whether somebody may come who serves it */
};

/* ---- shares ---- */

static void pending_finish(struct pending *p)
{
	fd_close(&p->fd);
	refusals_free(p->refusals);
}

static void close_pending(struct share *s)
{
	for (unsigned i = 0; i < s->pending_count; i++)
		pending_finish(&s->pending[i]);
	s->pending_count = 0;
}

static void share_set_waiting(struct share *s, bool waiting)
{
	if (s->waiting != waiting)
		s->sharing->waiting += waiting ? 1 : -1u;
	s->waiting = waiting;
}

static int number_take(struct sharing *sharing)
{
	/* In a circle: a lane may still hold connections of a listener that is closed by now. */
	for (int i = 0; i < 256; i++) {
		int n = sharing->next_number++;

		if (!(sharing->numbers[n / 8] & 1 << n % 8)) {
			sharing->numbers[n / 8] |= (uint8_t)(1 << n % 8);
			return n;
		}
	}
	return -1;
}

static void share_free(struct share *s)
{
	json_decref(s->data);
	free(s->key);
	free(s->key_json);
	free(s->address);
	free(s->seats);
	free(s->pending);
	steering_finish(&s->steering);
	free(s);
}

void share_unref(struct share *s)
{
	if (--s->open_handles == 0)
		share_free(s);
}

bool share_accepts(const struct share *s)
{
	return s->form != SHARE_LENT && s->listener.address.kind != ADDRESS_UDP;
}

static void on_timer_closed(uv_handle_t *handle)
{
	share_unref(handle->data);
}

static struct share *share_of(struct listener *l)
{
	return (struct share *)((char *)l - offsetof(struct share, listener));
}

static void on_listener_closed(struct listener *l)
{
	share_unref(share_of(l));
}

void share_close(struct share *s)
{
	struct sharing *sharing = s->sharing;
	struct receiver *r;

	TAILQ_FOREACH (r, &s->sharing->receivers, link)
		handoff_forget_share(r, s);
	s->closed = true;
	share_set_waiting(s, false);
	TAILQ_REMOVE(&sharing->shares, s, link);
	if (s->number >= 0)
		sharing->numbers[s->number / 8] &= (uint8_t)~(1 << s->number % 8);
	close_pending(s);
	chooser_close_parked(s);
	sides_close(s);
	listener_close(&s->listener, on_listener_closed);
	uv_close((uv_handle_t *)&s->orphan, on_timer_closed);
	uv_close((uv_handle_t *)&s->sides.timer, on_timer_closed);
}

/* By a program that goes on, and not because it leaves. */
static bool was_closed_for_good(const struct share *s)
{
	const struct receiver *r = sharing_find_receiver(s->sharing, s->closed_by);

	return r && r->connected && !r->asked;
}

static bool awaits_worker(const struct share *s)
{
	return !was_closed_for_good(s) && s->sharing->asks->awaits_worker(s->sharing->cluster);
}

static void on_orphan(uv_timer_t *timer)
{
	struct share *s = timer->data;

	if (awaits_worker(s) || sides_have_workers(s))
		uv_timer_start(timer, on_orphan, AGAIN_MS, 0);
	else
		share_close(s);
}

/* ---- the way of a connection ---- */

static bool all_refused(const struct share *s, const struct refusals *r)
{
	for (unsigned i = 0; i < s->seat_count; i++)
		if (!refusals_has(r, s->seats[i].receiver->id))
			return false;
	return s->seat_count > 0;
}

static struct pending pending_pop(struct share *s)
{
	struct pending p = s->pending[0];

	memmove(s->pending, s->pending + 1, --s->pending_count * sizeof(*s->pending));
	return p;
}

/* As a lone server at its limit does. Who is left may be fewer than when it came back. */
static void close_refused(struct share *s)
{
	while (s->pending_count > 0 && s->pending[0].refusals && all_refused(s, s->pending[0].refusals)) {
		struct pending p = pending_pop(s);

		pending_finish(&p);
	}
}

/* It is given: now it is its turn that is over. */
static void take_turn(struct share *s, unsigned seat)
{
	for (unsigned i = (s->last + 1) % s->seat_count; i != seat; i = (i + 1) % s->seat_count)
		s->seats[i].skipped += s->seats[i].receiver->takes;
	s->last = seat;
}

static int pending_add(struct share *s, struct pending p)
{
	if (s->pending_count == s->pending_size) {
		unsigned size = s->pending_size ? s->pending_size * 2 : 16;
		struct pending *more = reallocarray(s->pending, size, sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->pending = more;
		s->pending_size = size;
	}
	s->pending[s->pending_count++] = p;
	return 0;
}

static bool wants_nonblocking(const struct share *s, const struct receiver *r)
{
	return !(handoff_has_lane(r) && s->number >= 0);
}

/* The next connection, the oldest that came back, else a new one, probably for `to`. 0, or as
 * listener_accept(). */
static int next_connection(struct share *s, const struct receiver *to, struct pending *ret)
{
	bool nonblocking = s->chooser || wants_nonblocking(s, to);
	int fd;

	if (s->pending_count > 0) {
		*ret = pending_pop(s);
		return 0;
	}
	fd = listener_accept(&s->listener, nonblocking);
	if (fd == -EAGAIN && s->form == SHARE_GROUP)
		fd = sides_accept(s, nonblocking);
	if (fd < 0)
		return fd;
	*ret = (struct pending){.fd = fd, .nonblocking = nonblocking};
	return 0;
}

/* Descriptors or memory: said once, and once more when nobody waits any longer. */
static void tell_lack(struct share *s, int err)
{
	struct sharing *sharing = s->sharing;

	if (!sharing->lacks)
		events_add_note(sharing->events, 0, "accept", "%s: cannot take connections: %s; they wait in the kernel",
				s->address, strerror(-err));
	sharing->lacks = true;
}

static void tell_no_lack(struct share *s)
{
	struct sharing *sharing = s->sharing;

	if (!sharing->lacks)
		return;
	events_add_note(sharing->events, 0, "accept", "%s: takes connections again", s->address);
	sharing->lacks = false;
}

/* What the lanes took is closed here in one go: the numbers are neighbours. */
struct round {
	struct receiver *touched[ROUND];
	unsigned touched_count;
	int sent[ROUND];
	unsigned sent_count;
	bool failed; /* a lane took nothing: too many descriptors are in flight, or no memory */
	bool found_no_more; /* connections */
};

static void round_flush(struct round *round, struct share *s, struct receiver *r)
{
	struct lane_batch *out = &r->lane_out;
	unsigned count = out->count;
	int err;

	if (count == 0)
		return;
	err = handoff_flush_lane(r);
	out->count = 0;
	if (err) {
		round->failed = true;
		if (err == -EAGAIN)
			tell_lack(s, -ETOOMANYREFS);
		s->refused = true;
		listener_retry(&s->listener, LISTENER_RETRY_MS);
	}
	for (unsigned i = 0; i < count; i++) {
		if (err)
			share_give_back(s, out->fds[i], false, NULL);
		else
			round->sent[round->sent_count++] = out->fds[i];
	}
}

static void round_hand(struct round *round, struct share *s, struct subscription *to, struct pending *p)
{
	struct receiver *r = to->receiver;
	bool nonblocking = wants_nonblocking(s, r);

	if (p->nonblocking != nonblocking)
		fd_set_nonblocking(p->fd, nonblocking);
	if (handoff_give(r, s, p->fd, p->refusals) < 0) {
		pending_finish(p); /* no memory even for a few bytes */
		return;
	}
	to->handed++;
	ceiling_on_handed(r);
	if (r->lane_out.count == 1)
		round->touched[round->touched_count++] = r;
	else if (r->lane_out.count == LANE_BATCH)
		round_flush(round, s, r);
}

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Everybody who serves it accepts by himself, or nobody will come: what came to the door nobody will ever take. */
static bool is_for_nobody(const struct share *s)
{
	for (unsigned i = 0; i < s->seat_count; i++)
		if (!s->seats[i].accepts)
			return false;
	return s->seat_count > 0 || (s->accept_alone && !sharing_expects_workers(s->sharing));
}

/* Nobody can take one: the kernel queues them. */
static void wait_for_room(struct share *s)
{
	int fd;

	if (is_for_nobody(s) && s->sides.group.count > 0) {
		close_pending(s);
		while ((fd = listener_accept(&s->listener, true)) >= 0)
			fd_close(&fd);
		return; /* it is armed, or looks again */
	}
	listener_pause(&s->listener);
	share_set_waiting(s, true);
}

/* False: nothing more to do now. */
static bool dispatch_one(struct share *s, struct round *round)
{
	struct pending p;
	int seat, err;

	close_refused(s);
	if (s->pending_count == 0 && ceiling_is_reached(s->sharing)) {
		wait_for_room(s);
		listener_retry(&s->listener, CEILING_AGAIN_MS);
		return false;
	}
	seat = choice_any(s, s->pending_count ? s->pending[0].refusals : NULL);
	if (seat < 0) {
		wait_for_room(s);
		if (seat == CHOICE_LATER)
			listener_retry(&s->listener, CHOICE_AGAIN_MS);
		return false;
	}
	err = round->failed ? -EAGAIN : next_connection(s, s->seats[seat].receiver, &p);
	if (err < 0 && err != -EAGAIN)
		tell_lack(s, err);
	round->found_no_more = err == -EAGAIN;
	if (err < 0)
		return false;
	if (s->chooser && !p.chosen && chooser_park(s, &p) == 0)
		return true;
	seat = choice_for(s, &p, seat);
	take_turn(s, (unsigned)seat);
	round_hand(round, s, &s->seats[seat], &p);
	return true;
}

static void dispatch_round(struct share *s)
{
	struct round round = {.touched_count = 0};
	unsigned n = 0;

	if (s->waiting && s->sides.paused)
		sides_arm(s);
	share_set_waiting(s, false);
	while (n < ROUND && dispatch_one(s, &round))
		n++;
	for (unsigned i = 0; i < round.touched_count; i++)
		round_flush(&round, s, round.touched[i]);
	if (round.found_no_more && !round.failed) /* now that lanes have taken all of them */
		tell_no_lack(s);
	qsort(round.sent, round.sent_count, sizeof(round.sent[0]), compare_fds); /* neighbours side by side */
	fd_close_all(round.sent, round.sent_count);
	if (n == ROUND && !round.failed)
		listener_arm(&s->listener); /* there may be more */
}

void share_dispatch(struct share *s)
{
	/* No event would tell of those that came back: they are handed on now, or wait for room. */
	do
		dispatch_round(s);
	while (s->pending_count > 0 && !s->waiting);
}

void share_on_ready(struct share *s)
{
	share_dispatch(s);
	sharing_watch_lanes(s->sharing);
}

static void on_ready(struct listener *l)
{
	struct share *s = share_of(l);

	s->refused = false;
	if (policy_is_steered(s->policy) && !s->chooser)
		steering_doubt(s);
	share_on_ready(s);
}

void share_put(struct share *s, struct pending p)
{
	if (pending_add(s, p) < 0)
		pending_finish(&p);
	else
		share_set_waiting(s, true);
}

void share_give_back(struct share *s, int fd, bool nonblocking, struct refusals *refusals)
{
	struct pending p = {.fd = fd, .nonblocking = nonblocking, .refusals = refusals, .chosen = true};

	if (!s || (refusals && all_refused(s, refusals)))
		pending_finish(&p);
	else
		share_put(s, p);
}

/* ---- opening ---- */

static struct share *share_new(struct sharing *sharing, char *key, json_t *data)
{
	struct share *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->sharing = sharing;
	s->key = key;
	s->key_json = node_encode_string(key);
	s->address = malloc(ADDRESS_TEXT_MAX);
	s->data = json_incref(data);
	s->orphan.data = s;
	TAILQ_INIT(&s->parked);
	TAILQ_INIT(&s->sides.list);
	if (s->key_json && s->address)
		return s;
	s->key = NULL; /* still the caller's */
	share_free(s);
	return NULL;
}

/* Datagrams for everybody, or somebody has detached the program: nobody reads them here. */
static void on_stray(struct listener *l)
{
	sides_drop(l->fd);
	steering_doubt(share_of(l));
}

static int open_sockets(struct share *s, const struct socket_wish *wish)
{
	int err = listener_open(&s->listener, s->sharing->loop, wish,
				share_accepts(s) ? on_ready : s->form == SHARE_GROUP ? on_stray : NULL);

	if (err)
		return err;
	address_format(&s->listener.address, s->address, ADDRESS_TEXT_MAX);
	uv_timer_init(s->sharing->loop, &s->orphan);
	uv_timer_init(s->sharing->loop, &s->sides.timer);
	s->sides.timer.data = s;
	s->open_handles = 3;
	if (s->form == SHARE_GROUP && !wish->is_bound_only && sides_open(s) < 0) /* no memory */
		s->form = share_accepts(s) ? SHARE_PLAIN : SHARE_LENT;
	steering_update(s); /* of udp before anybody joins (K43) */
	return 0;
}

int share_open(struct sharing *sharing, char *key, const struct socket_wish *wish, enum share_form form,
	       enum umbel_policy policy, json_t *data, struct share **ret)
{
	struct share *s = share_new(sharing, key, data);
	int err;

	if (!s)
		return -ENOMEM;
	s->wish = *wish;
	s->wish.is_door = form == SHARE_GROUP;
	s->form = form;
	s->policy = policy;
	s->listener.address.kind = wish->address.kind;
	err = open_sockets(s, &s->wish);
	if (err) {
		s->key = NULL;
		share_free(s);
		return err;
	}
	s->number = share_accepts(s) ? number_take(sharing) : -1;
	TAILQ_INSERT_TAIL(&sharing->shares, s, link);
	*ret = s;
	return 0;
}

void share_wait_for_successor(struct share *s, unsigned ms)
{
	if (share_accepts(s))
		wait_for_room(s);
	uv_timer_start(&s->orphan, on_orphan, ms, 0);
}
