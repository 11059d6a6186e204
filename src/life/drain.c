#include "life/drain.h"

#include "life/crew.h"
#include "life/worker.h"
#include "net/connections.h"
#include "net/handshakes.h"
#include "share/leftover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SETTLE_MS = 20,    /* until no SYN is in the old program any more (K31) */
	EMPTY_MS = 2,      /* between two looks at an empty queue */
	SOON_MS = 5,       /* between two looks, of the first */
	SOON_LOOKS = 20,
	LATER_MS = 50,
	PORTS_MOST = 64,   /* a worker has no more sockets */
	NAMES_MOST = 16,
};

struct port {
	int number;
	struct handshakes begun; /* when it was steered to no more */
};

struct drain {
	struct umbel_worker *worker;
	uv_timer_t timer;
	uint64_t begins_ms; /* of uv_now() */
	uint64_t idle_ms;   /* the same: when all its connections were idle first; 0: not yet */
	struct port ports[PORTS_MOST];
	unsigned port_count;
	char names[NAMES_MOST][CONNECTIONS_NAME]; /* of its unix sockets */
	unsigned name_count;
	unsigned looks;     /* at what must end first */
	bool knows_begun;   /* it was looked for handshakes */
	bool looked_empty;  /* its queues, at the last look */
	bool is_settled;    /* they were empty twice: nothing new comes */
	bool looked_idle;   /* its connections, at the last look; but it had more by then */
	bool goes_on;       /* nobody can steer away from a socket that all share: what it has already comes first */
	bool is_done;       /* nothing is waited for any more: what was seen is what ends with it */
	struct connections seen;
	struct inodes open; /* its sockets */
	int blind;          /* -errno: its connections cannot be seen */
	unsigned ended;     /* connections, for the program, which should have closed them */
	unsigned ended_unseen; /* the same, of unix sockets */
};

static void on_timer(uv_timer_t *timer);

static void again(struct drain *d, unsigned ms)
{
	uv_timer_start(&d->timer, on_timer, ms, 0);
}

/* Every one that drains takes its time for walks. */
static unsigned count_drains(const struct crew *crew)
{
	const struct umbel_worker *w;
	unsigned count = 0;

	TAILQ_FOREACH (w, &crew->workers, link)
		count += w->drain != NULL;
	return count;
}

static void again_after_walk(struct drain *d, uint64_t start)
{
	uint64_t took = uv_hrtime() - start;

	again(d, diag_pause_ms(took * count_drains(d->worker->crew), d->looks++ < SOON_LOOKS ? SOON_MS : LATER_MS));
}

/* ---- what it waits for ---- */

static void add_port(struct drain *d, int number)
{
	for (unsigned i = 0; i < d->port_count; i++)
		if (d->ports[i].number == number)
			return;
	if (d->port_count < PORTS_MOST)
		d->ports[d->port_count++].number = number;
}

static void add_name(struct drain *d, int listener)
{
	if (d->name_count < NAMES_MOST && connections_name(listener, d->names[d->name_count]) == 0)
		d->name_count++;
}

static void find_ports(struct drain *d)
{
	const struct umbel_worker *w = d->worker;
	struct share *s;

	TAILQ_FOREACH (s, &w->crew->sharing.shares, link) {
		bool is_lent = s->form == SHARE_LENT && share_seat_of(s, &w->receiver) >= 0;
		const struct side *side;

		if (s->listener.address.kind == ADDRESS_UDP)
			continue;
		d->goes_on |= is_lent;
		if (s->listener.address.kind == ADDRESS_UNIX) {
			if (is_lent)
				add_name(d, s->listener.fd);
			continue;
		}
		if (is_lent)
			add_port(d, s->listener.address.port);
		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->owner == w->receiver.id && side->is_program)
				add_port(d, s->listener.address.port);
	}
}

static void remember_begun(struct drain *d)
{
	d->knows_begun = true;
	for (unsigned i = 0; i < d->port_count; i++)
		handshakes_remember(&d->ports[i].begun, d->worker->crew->sharing.diag, d->ports[i].number);
}

static bool is_begun(const struct drain *d)
{
	bool any = false;

	for (unsigned i = 0; i < d->port_count && !any; i++)
		any = handshakes_are_left(&d->ports[i].begun, d->worker->crew->sharing.diag, d->ports[i].number);
	return any;
}

/* It was offered (activation.h), and the program may not know that it has it: another of its sockets, or none, made
 * the worker ready. What waits there was not taken in all that time. */
static bool was_never_taken(const struct umbel_worker *w, const struct side *side)
{
	const struct share *s = side->share;

	return side->is_offered && share_seat_of(s, &w->receiver) < 0;
}

static bool has_queue(const struct drain *d)
{
	const struct umbel_worker *w = d->worker;
	struct diag_queue q;
	struct share *s;

	TAILQ_FOREACH (s, &w->crew->sharing.shares, link) {
		const struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->owner == w->receiver.id && side->is_program && side->listens &&
			    !was_never_taken(w, side) && diag_queue(side->listener.fd, &q) == 0 && q.waiting > 0)
				return true;
	}
	return false;
}

/* From then on what can be told of the client's end is told so, though an answer may be owed that does not show. Programs
 * with threads give it all the same; what has an event loop cancels it. */
static bool is_late(const struct drain *d)
{
	const struct crew *crew = d->worker->crew;

	return uv_now(crew->loop) - d->begins_ms >= crew->settings->grace_ms / 2;
}

static int look(struct drain *d, struct connections *ret)
{
	struct diag *diag = d->worker->crew->sharing.diag;
	struct connections sum = {0}, seen = {0};
	int err = diag || !d->port_count ? 0 : -ENOENT;

	for (unsigned i = 0; i < d->port_count && !err; i++) {
		err = connections_look(diag, d->ports[i].number, &d->open, is_late(d), &seen);
		sum.open += seen.open;
		sum.busy += seen.busy;
	}
	for (unsigned i = 0; i < d->name_count && !err; i++) {
		err = connections_look_unix(d->names[i], &d->open, &seen);
		sum.open += seen.open;
		sum.unseen += seen.unseen;
	}
	if (!err)
		*ret = sum;
	return err;
}

static int find_open(struct drain *d)
{
	struct inodes open = {0};
	int err = leftover_open_sockets(&d->worker->receiver, &open);

	if (err)
		return err;
	inodes_finish(&d->open);
	d->open = open;
	return 0;
}

/* ---- its steps, K32 ---- */

/* Nothing new comes: they are empty on two looks. */
static bool are_queues_empty(struct drain *d)
{
	bool before = d->looked_empty;

	d->looked_empty = !has_queue(d);
	if (!d->looked_empty) {
		again(d, d->looks++ < SOON_LOOKS ? SOON_MS : LATER_MS);
		return false;
	}
	if (!before)
		again(d, EMPTY_MS);
	return before;
}

static void done(struct drain *d)
{
	worker_happens(d->worker, WORKER_DRAINED); /* ends in drain_end() */
}

static void tell_blind(const struct umbel_worker *w, int err)
{
	worker_note(w, "drain", "pid %d: its connections cannot be seen (%s): they have %u ms",
		    (int)w->receiver.pid, strerror(-err), (unsigned)w->crew->settings->linger_ms);
}

/* Where they cannot be seen they have as long as handshakes. */
static void wait_blindly(struct drain *d, int err)
{
	const struct umbel_worker *w = d->worker;
	uint64_t since = uv_now(w->crew->loop) - d->begins_ms, ms = w->crew->settings->linger_ms;

	if (!d->blind)
		tell_blind(w, err);
	d->blind = err;
	if (since < ms)
		again(d, (unsigned)(ms - since));
	else
		done(d);
}

static bool are_all_among(const struct inodes *now, const struct inodes *before)
{
	size_t i = 0;

	for (size_t n = 0; n < now->count; n++) {
		while (i < before->count && before->list[i].number < now->list[n].number)
			i++;
		if (i == before->count || before->list[i].number != now->list[n].number)
			return false;
	}
	return true;
}

/* Has it sockets that were not seen? A child may have got one while others were read through. */
static bool has_new_ones(struct drain *d)
{
	struct inodes before = d->open;
	bool any;

	d->open = (struct inodes){0};
	any = find_open(d) < 0 || !are_all_among(&d->open, &before);
	inodes_finish(&before);
	return any;
}

static bool has_lingered(const struct drain *d, uint64_t since_ms)
{
	const struct crew *crew = d->worker->crew;

	return uv_now(crew->loop) - since_ms >= crew->settings->linger_ms;
}

/* A program that is told that its clients have gone closes their connections, and goes on writing what it owes: nothing
 * is cut that way. So it is told of each that is idle, before the signal too. Not all programs listen to that. */
static void end_idle(struct drain *d)
{
	d->ended += connections_end_idle(&d->open, has_lingered(d, d->begins_ms));
	if (is_late(d))
		d->ended_unseen += connections_end_unseen(&d->open);
}

static bool looks_idle(const struct drain *d)
{
	return d->seen.busy == 0 && d->seen.unseen == 0;
}

/* It goes on accepting, and will do so until the signal: a moment in which it has none is waited for. */
static bool is_gap(const struct drain *d)
{
	return d->goes_on && d->idle_ms;
}

/* Whether nothing is left that could be waited for. One look may miss a unix socket. */
static bool is_over(struct drain *d)
{
	if (!is_gap(d)) {
		if (!looks_idle(d) || (!d->looked_idle && (d->name_count || (!d->goes_on && has_new_ones(d)))))
			return false;
		if (!d->idle_ms)
			d->idle_ms = uv_now(d->worker->crew->loop);
		if (d->goes_on)
			return false;
	}
	return d->seen.open == 0 || has_lingered(d, d->idle_ms);
}

static void look_at_connections(struct drain *d)
{
	uint64_t start = uv_hrtime();
	int err = d->is_settled && !is_gap(d) ? 0 : find_open(d);

	d->is_settled = true;
	err = err ? err : look(d, &d->seen);
	if (err == -EINTR) { /* they come and go too fast */
		again_after_walk(d, start);
	} else if (err) {
		wait_blindly(d, err);
	} else {
		end_idle(d); /* before anything forgets which they are */
		d->is_done = is_over(d);
		d->looked_idle = looks_idle(d);
		if (d->is_done)
			done(d);
		else
			again_after_walk(d, start);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct drain *d = timer->data;
	const struct crew *crew = d->worker->crew;
	uint64_t start = uv_hrtime();

	if (!d->knows_begun) {
		remember_begun(d); /* not at once: it is a walk, and others may be waiting */
		again(d, EMPTY_MS);
	} else if (!d->is_settled && uv_now(timer->loop) - d->begins_ms < crew->settings->linger_ms && is_begun(d)) {
		again_after_walk(d, start);
	} else if (d->is_settled || are_queues_empty(d)) {
		look_at_connections(d);
	}
}

/* ---- */

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void drain_begin(struct umbel_worker *w)
{
	struct drain *d = calloc(1, sizeof(*d));

	if (!d) {
		tell_blind(w, -ENOMEM);
		worker_deadline(w, DEADLINE_SIGNAL, w->crew->settings->linger_ms);
		return;
	}
	d->worker = w;
	uv_timer_init(w->crew->loop, &d->timer);
	d->timer.data = d;
	uv_update_time(w->crew->loop); /* the last turn may be long ago */
	d->begins_ms = uv_now(w->crew->loop);
	w->drain = d;
	find_ports(d);
	worker_deadline(w, DEADLINE_SIGNAL, w->crew->settings->grace_ms / 5 * 4); /* it may finish them at a signal */
	again(d, SETTLE_MS);
}

/* What nobody can know: whether a client waits for the next word of a stream (K75). */
static void tell_cut(struct drain *d)
{
	const struct umbel_worker *w = d->worker;
	struct connections seen = d->seen;

	if (d->ended)
		worker_note(w, "drain", "pid %d: %u idle connection%s ended",
			    (int)w->receiver.pid, d->ended, d->ended == 1 ? " was" : "s were");
	if (d->ended_unseen)
		worker_note(w, "drain", "pid %d: %u connection%s ended, of a unix socket: perhaps busy",
			    (int)w->receiver.pid, d->ended_unseen, d->ended_unseen == 1 ? " was" : "s were");
	if (!d->is_done && (find_open(d) < 0 || look(d, &seen) < 0))
		return;
	if (seen.open == 0)
		return;
	if (seen.busy)
		worker_note(w, "drain", "pid %d: %u connection%s with it, %u busy",
			    (int)w->receiver.pid, seen.open, seen.open == 1 ? " ends" : "s end", seen.busy);
	else if (seen.unseen)
		worker_note(w, "drain", "pid %d: %u connection%s with it, perhaps busy",
			    (int)w->receiver.pid, seen.open, seen.open == 1 ? " ends" : "s end");
	else
		worker_note(w, "drain", "pid %d: %u idle connection%s with it",
			    (int)w->receiver.pid, seen.open, seen.open == 1 ? " ends" : "s end");
}

void drain_end(struct umbel_worker *w)
{
	struct drain *d = w->drain;

	if (!d)
		return;
	if (w->state != UMBEL_STATE_DEAD)
		tell_cut(d);
	w->drain = NULL;
	for (unsigned i = 0; i < d->port_count; i++)
		handshakes_forget(&d->ports[i].begun);
	inodes_finish(&d->open);
	uv_close((uv_handle_t *)&d->timer, on_closed);
}
