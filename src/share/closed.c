#include "share/closed.h"

#include "base/reason.h"
#include "net/connections.h"
#include "net/diag.h"
#include "share/leftover.h"
#include "share/receiver.h"
#include "share/sharing.h"
#include "share/sides.h"

enum {
	LOOK_MS = 1000,
	PATIENCE = 2,   /* looks at which as many wait as before, or more */
	MOST = 16,      /* then the program's processes are looked through; so many looks later again */
};

/* True also where we may not look. For want of memory or descriptors it is looked for again at the next look. */
static bool has_it(const struct receiver *r, struct side *side)
{
	struct inodes open = {0};
	int err = leftover_open_sockets(r, &open);
	bool found = err || inodes_have(&open, side->listener.fd);

	side->looks -= error_is_lack(err);
	inodes_finish(&open);
	return found;
}

static struct receiver *owner_of(const struct side *side)
{
	return sharing_find_receiver(side->share->sharing, side->owner);
}

/* One that was bound and does not listen yet is looked for less and less often. */
static bool is_closed(struct side *side, const struct receiver *r)
{
	struct diag_queue q;

	if (!side->listens) {
		side->looks++;
		return (side->looks & (side->looks - 1)) == 0 && !has_it(r, side);
	}
	if (diag_queue(side->listener.fd, &q) < 0 || q.is_shut)
		return false;
	side->looks = q.waiting > 0 && q.waiting >= side->waited ? side->looks + 1 : 0;
	side->waited = q.waiting;
	return side->looks % MOST == PATIENCE && !has_it(r, side);
}

static void give_up(struct side *side, struct receiver *r)
{
	struct share *s = side->share;

	if (side->listens)
		events_add_note(s->sharing->events, r->slot, "share", "pid %d has closed its socket at %s: nothing is "
				"steered there any more", (int)r->pid, s->address);
	sides_give_back(side);
	if (s->wish.is_bound_only && TAILQ_EMPTY(&s->sides.list))
		share_close(s);
	else
		sharing_lost_socket(s, r->id); /* this last: s may be gone */
}

/* It has had its time to listen again. */
static bool is_left(const struct share *s, const struct side *side)
{
	const struct receiver *r = side->is_program && side->times_shut && !side->listens ? owner_of(side) : NULL;

	return r && share_seat_of(s, r) >= 0 && !sides_has_listening(s, r);
}

static bool look_at(struct share *s)
{
	struct side *side, *next;
	bool any = false;

	for (side = TAILQ_FIRST(&s->sides.list); side; side = next) {
		struct receiver *r = side->is_program ? owner_of(side) : NULL;

		next = TAILQ_NEXT(side, link);
		any |= r != NULL;
		if (is_left(s, side)) {
			sharing_lost_socket(s, side->owner);
			return true;
		}
		if (r && is_closed(side, r)) {
			give_up(side, r);
			return true; /* the others at the next look */
		}
	}
	return any;
}

/* The first of this worker's that is closed; NULL: none. */
static struct side *find_closed(const struct receiver *r, const struct inodes *open)
{
	struct share *s;

	TAILQ_FOREACH (s, &r->sharing->shares, link) {
		struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->is_program && side->owner == r->id && !inodes_have(open, side->listener.fd))
				return side;
	}
	return NULL;
}

void closed_sweep(struct receiver *r)
{
	struct inodes open = {0};
	struct side *side;

	if (leftover_open_sockets(r, &open) < 0)
		return;
	while ((side = find_closed(r, &open)))
		give_up(side, r);
	inodes_finish(&open);
}

static void on_timer(uv_timer_t *timer)
{
	struct sharing *sharing = timer->data;
	struct share *s, *next;
	bool any = false;

	for (s = TAILQ_FIRST(&sharing->shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		pads_empty(s);
		any |= s->listener.address.kind == ADDRESS_TCP && look_at(s);
	}
	if (!any)
		uv_timer_stop(timer);
}

void closed_watch(struct sharing *sharing)
{
	if (!uv_is_active((uv_handle_t *)&sharing->closed))
		uv_timer_start(&sharing->closed, on_timer, LOOK_MS, LOOK_MS);
}

void closed_open(struct sharing *sharing)
{
	uv_timer_init(sharing->loop, &sharing->closed);
	sharing->closed.data = sharing;
}

void closed_close(struct sharing *sharing)
{
	uv_close((uv_handle_t *)&sharing->closed, NULL);
}
