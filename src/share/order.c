/* The order of a group when workers shut their sockets down, which takes them out of it (K5): sides.h. One can be
 * followed: the last has its place, and it comes to the end when it listens again. Of two nobody knows which was
 * first, and the order is made anew. So it is with other programs' sockets: strangers.h. */
#include "share/receiver.h"
#include "share/sharing.h"
#include "share/sides.h"
#include "share/steering.h"

#include <sys/socket.h>

enum {
	SETTLE_MS = 20,    /* until what was steered before has arrived */
	PATIENCE_MS = 3000, /* for what waits in a side: listening anew resets it */
	SHUT_MOST = 100,    /* by one worker; then it means harm */
	STRANGERS_MS = 2000, /* between two looks at strangers, while there is one */
};

static struct side *find_shut(const struct share *s, unsigned *ret_count)
{
	struct side *side, *found = NULL;
	struct diag_queue q;

	*ret_count = 0;
	TAILQ_FOREACH (side, &s->sides.list, link)
		if (side->listens && diag_queue(side->listener.fd, &q) == 0 && q.is_shut) {
			found = side;
			++*ret_count;
		}
	return found;
}

static bool is_something_waiting(const struct share *s)
{
	const struct side *side;
	struct diag_queue q;

	TAILQ_FOREACH (side, &s->sides.list, link)
		if (diag_queue(side->listener.fd, &q) == 0 && !q.is_shut && q.waiting > 0)
			return true;
	return false;
}

/* While the order is made anew everything goes to the door; the primary takes what waits in the sides. */
static void on_timer(uv_timer_t *timer)
{
	struct share *s = timer->data;
	struct side *side;

	if (!s->sides.rebuilds_ms) {
		sides_check_order(s);
		return;
	}
	if (uv_now(timer->loop) - s->sides.rebuilds_ms < PATIENCE_MS && is_something_waiting(s)) {
		uv_timer_start(timer, on_timer, SETTLE_MS, 0);
		return;
	}
	pads_drop(s);
	TAILQ_FOREACH (side, &s->sides.list, link)
		if (side->listens)
			shutdown(side->listener.fd, SHUT_RDWR);
	group_reset(&s->sides.group);
	strangers_restart(s);
	TAILQ_FOREACH (side, &s->sides.list, link) {
		if (!side->listens)
			continue;
		socket_listen_again(side->listener.fd, &s->wish);
		group_add(&s->sides.group, &side->member, side->listener.fd); /* there was room for it */
	}
	pads_add(s);
	s->sides.rebuilds_ms = 0;
	steering_update(s);
	sides_check_order(s);
}

/* Mostly it is about to close it. It may listen again, and says so then; if it does not, closed.c sees that. */
static void on_shut_by_program(struct side *side)
{
	side->times_shut++;
	listener_watch_shut(&side->listener, NULL);
	side->listens = false;
	group_remove(&side->share->sides.group, &side->member);
}

/* What a program has shut down is not ours to listen on again. */
static void leave_out_shut(struct share *s)
{
	struct side *side;
	struct diag_queue q;

	TAILQ_FOREACH (side, &s->sides.list, link)
		if (side->is_program && side->listens && diag_queue(side->listener.fd, &q) == 0 && q.is_shut)
			on_shut_by_program(side);
}

static void rebuild(struct share *s)
{
	leave_out_shut(s);
	s->sides.rebuilds_ms = uv_now(s->sharing->loop);
	steering_update(s);
	uv_timer_start(&s->sides.timer, on_timer, SETTLE_MS, 0);
}

static void count_against_worker(struct side *side)
{
	struct receiver *r;

	if (side->is_program || ++side->times_shut <= SHUT_MOST)
		return;
	r = sharing_find_receiver(side->share->sharing, side->owner);
	if (r)
		receiver_breach(r, "it shuts its listening socket down again and again");
}

/* True: the order is known. */
static bool follow_shut(struct share *s, struct side *shut, unsigned count)
{
	if (count == 1 && shut->is_program) {
		on_shut_by_program(shut);
	} else if (count == 1) {
		socket_listen_again(shut->listener.fd, &s->wish);
		group_moved_to_end(&s->sides.group, &shut->member);
	}
	if (count == 1)
		find_shut(s, &count);
	pads_empty(s);
	return count == 0 && strangers_look(s) != STRANGERS_UNKNOWN;
}

void sides_check_order(struct share *s)
{
	enum strangers_word strangers;
	struct side *side;
	unsigned count;

	if (!share_accepts(s) || s->sides.rebuilds_ms)
		return;
	strangers = strangers_look(s);
	side = find_shut(s, &count);
	if (count > 0)
		count_against_worker(side);
	if (strangers == STRANGERS_UNKNOWN || (count > 0 && strangers == STRANGERS_FOLLOWED) ||
	    (count > 0 && !follow_shut(s, side, count)))
		rebuild(s);
	else if (count > 0 || strangers == STRANGERS_FOLLOWED)
		steering_update(s);
	if (!s->sides.rebuilds_ms && s->sides.strangers.count > 0)
		uv_timer_start(&s->sides.timer, on_timer, STRANGERS_MS, 0);
}
