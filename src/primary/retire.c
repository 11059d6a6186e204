/* The retirement of a side that no slot needs: nothing that a client began may be lost. It is not steered to any
 * more, and the primary accepts what arrives in it all the time. It leaves the group when the handshakes that were
 * under way when it began are over, and it was found empty twice (K27 to K33). */
#include "base/fd.h"
#include "primary/cluster.h"
#include "primary/sides.h"
#include "primary/steering.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	SETTLE_MS = 20,      /* until no SYN is in the old program any more (K31) */
	LOOK_MS = 2,         /* between two looks at the queue */
	HANDSHAKE_MS = 50,   /* between two looks at the handshakes */
	LINGER_MS = 63000,   /* the kernel gives up a handshake after that (tcp_synack_retries, tcp(7)) */
	HOPE_MS = 3000,
	HALF_OPEN_MOST = 1024,
};

static void on_timer(uv_timer_t *timer);

static void again(struct side *side, unsigned ms)
{
	uv_timer_start(&side->timer, on_timer, ms, 0);
}

static void remember_half_open(struct side *side)
{
	struct diag *d = side->share->cluster->sharing.diag;
	struct diag_peer *peers = d ? malloc(HALF_OPEN_MOST * sizeof(*peers)) : NULL;
	int n = peers ? diag_half_open(d, side->share->listener.address.port, peers, HALF_OPEN_MOST) : 0;

	free(side->half_open);
	side->half_open = NULL;
	side->half_open_count = 0;
	if (n <= 0) {
		free(peers);
		return;
	}
	side->half_open = peers;
	side->half_open_count = n < HALF_OPEN_MOST ? (unsigned)n : HALF_OPEN_MOST;
}

/* Is one of them still under way? */
static bool is_half_open(struct side *side)
{
	struct diag *d = side->share->cluster->sharing.diag;
	struct diag_peer *now;
	bool found = false;
	int n;

	if (side->half_open_count == 0)
		return false;
	now = malloc(HALF_OPEN_MOST * sizeof(*now));
	if (!now)
		return true; /* later */
	n = diag_half_open(d, side->share->listener.address.port, now, HALF_OPEN_MOST);
	for (int i = 0; i < n && i < HALF_OPEN_MOST && !found; i++)
		for (unsigned j = 0; j < side->half_open_count && !found; j++)
			found = memcmp(&now[i], &side->half_open[j], sizeof(now[i])) == 0;
	free(now);
	return found || n > HALF_OPEN_MOST;
}

void retire_begin(struct side *side)
{
	side->retires_ms = uv_now(&side->share->cluster->loop);
	side->looked_empty = side->half_open_known = false;
	again(side, SETTLE_MS);
}

void retire_cancel(struct side *side)
{
	uv_timer_stop(&side->timer);
	side->retires_ms = 0;
	free(side->half_open);
	side->half_open = NULL;
	side->half_open_count = 0;
	side->half_open_known = false;
}

static void leave(struct side *side)
{
	struct share *s = side->share;

	sides_check_order(s);
	if (s->sides.rebuilds_ms) {
		again(side, HANDSHAKE_MS);
		return;
	}
	s->sides.moving = s->sides.group.members[s->sides.group.count - 1]; /* it comes to the gap */
	steering_update(s);
	shutdown(side->listener.fd, SHUT_RDWR);
	sides_remove(side);
	s->sides.moving = NULL;
	s->steering.is_wrong = true;
	steering_update(s);
	sides_check_order(s);
}

/* A look walks over every TCP socket of the machine: at most a twentieth of the time goes into it. */
static unsigned next_look_ms(uint64_t took_ns)
{
	uint64_t ms = took_ns * 20 / 1000000;

	return ms < HANDSHAKE_MS ? HANDSHAKE_MS : (unsigned)ms;
}

/* Nobody takes what is handed over: who waits is to see an end. */
static bool is_hopeless(const struct side *side)
{
	const struct share *s = side->share;

	for (unsigned i = 0; i < s->seat_count; i++)
		if (!s->seats[i].accepts)
			return false;
	return (s->seat_count > 0 || side->is_read_alone) &&
	       uv_now(&s->cluster->loop) - side->retires_ms > HOPE_MS;
}

/* Its worker died, and only the next one can take what comes there. */
static bool is_kept_for_successor(const struct side *side)
{
	const struct cluster *c = side->share->cluster;

	return side->is_read_alone && side->owner == 0 && !side->was_left && slot_is_wanted(c->slots[side->slot - 1]) &&
	       uv_now(&c->loop) - side->retires_ms < HOPE_MS;
}

static void on_timer(uv_timer_t *timer)
{
	struct side *side = timer->data;
	uint64_t start = uv_hrtime();
	struct diag_queue q;

	if (is_kept_for_successor(side)) {
		again(side, HANDSHAKE_MS);
	} else if (!side->half_open_known) {
		/* Not when it began: to walk over all sockets of the machine takes milliseconds for which a successor,
		 * which may take this side over, would wait. */
		side->half_open_known = true;
		remember_half_open(side);
		again(side, LOOK_MS);
	} else if (uv_now(timer->loop) - side->retires_ms < LINGER_MS && is_half_open(side)) {
		again(side, next_look_ms(uv_hrtime() - start));
	} else if (diag_queue(side->listener.fd, &q) < 0 || (q.waiting > 0 && !is_hopeless(side))) {
		side->looked_empty = false;
		again(side, HANDSHAKE_MS); /* somebody will have room for it */
	} else if (!side->looked_empty) {
		side->looked_empty = true;
		again(side, LOOK_MS);
	} else {
		leave(side);
	}
}
