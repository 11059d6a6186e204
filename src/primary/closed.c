#include "primary/closed.h"

#include "base/reason.h"
#include "net/connections.h"
#include "net/diag.h"
#include "primary/cluster.h"
#include "primary/sides.h"
#include "primary/worker.h"

enum {
	LOOK_MS = 1000,
	PATIENCE = 2,   /* looks at which as many wait as before, or more */
	MOST = 16,      /* then the program's processes are looked through; so many looks later again */
};

/* True also where we may not look. For want of memory or descriptors it is looked for again at the next look. */
static bool has_it(const struct umbel_worker *w, struct side *side)
{
	struct inodes open = {0};
	int err = inodes_of_tree(w->pid, &open);
	bool found = err || inodes_have(&open, side->listener.fd);

	side->looks -= error_is_lack(err);
	inodes_finish(&open);
	return found;
}

static struct umbel_worker *owner_of(const struct side *side)
{
	struct umbel_worker *w;

	TAILQ_FOREACH (w, &side->share->cluster->workers, link)
		if (w->id == side->owner)
			return w;
	return NULL;
}

/* One that was bound and does not listen yet is looked for less and less often. */
static bool is_closed(struct side *side, const struct umbel_worker *w)
{
	struct diag_queue q;

	if (!side->listens) {
		side->looks++;
		return (side->looks & (side->looks - 1)) == 0 && !has_it(w, side);
	}
	if (diag_queue(side->listener.fd, &q) < 0 || q.is_shut)
		return false;
	side->looks = q.waiting > 0 && q.waiting >= side->waited ? side->looks + 1 : 0;
	side->waited = q.waiting;
	return side->looks % MOST == PATIENCE && !has_it(w, side);
}

static void give_up(struct side *side, struct umbel_worker *w)
{
	struct share *s = side->share;

	if (side->listens)
		cluster_note(s->cluster, w->slot->number, "share", "pid %d has closed its socket at %s: nothing is steered "
			     "there any more", (int)w->pid, s->address);
	sides_give_back(side);
	if (s->wish.is_bound_only && TAILQ_EMPTY(&s->sides.list))
		share_close(s);
	else
		sharing_lost_socket(s, w->id); /* this last: s may be gone */
}

/* It has had its time to listen again. */
static bool is_left(const struct share *s, const struct side *side)
{
	const struct umbel_worker *w = side->is_program && side->times_shut && !side->listens ? owner_of(side) : NULL;

	return w && share_seat_of(s, w) >= 0 && !sides_has_listening(s, w);
}

static bool look_at(struct share *s)
{
	struct side *side, *next;
	bool any = false;

	for (side = TAILQ_FIRST(&s->sides.list); side; side = next) {
		struct umbel_worker *w = side->is_program ? owner_of(side) : NULL;

		next = TAILQ_NEXT(side, link);
		any |= w != NULL;
		if (is_left(s, side)) {
			sharing_lost_socket(s, side->owner);
			return true;
		}
		if (w && is_closed(side, w)) {
			give_up(side, w);
			return true; /* the others at the next look */
		}
	}
	return any;
}

/* The first of this worker's that is closed; NULL: none. */
static struct side *find_closed(const struct umbel_worker *w, const struct inodes *open)
{
	struct share *s;

	TAILQ_FOREACH (s, &w->cluster->sharing.shares, link) {
		struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->is_program && side->owner == w->id && !inodes_have(open, side->listener.fd))
				return side;
	}
	return NULL;
}

void closed_sweep(struct umbel_worker *w)
{
	struct inodes open = {0};
	struct side *side;

	if (inodes_of_tree(w->pid, &open) < 0)
		return;
	while ((side = find_closed(w, &open)))
		give_up(side, w);
	inodes_finish(&open);
}

static void on_timer(uv_timer_t *timer)
{
	struct cluster *c = timer->data;
	struct share *s, *next;
	bool any = false;

	for (s = TAILQ_FIRST(&c->sharing.shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		pads_empty(s);
		any |= s->listener.address.kind == ADDRESS_TCP && look_at(s);
	}
	if (!any)
		uv_timer_stop(timer);
}

void closed_watch(struct cluster *c)
{
	if (!uv_is_active((uv_handle_t *)&c->sharing.closed))
		uv_timer_start(&c->sharing.closed, on_timer, LOOK_MS, LOOK_MS);
}

void closed_open(struct cluster *c)
{
	uv_timer_init(&c->loop, &c->sharing.closed);
	c->sharing.closed.data = c;
}

void closed_close(struct cluster *c)
{
	uv_close((uv_handle_t *)&c->sharing.closed, NULL);
}
