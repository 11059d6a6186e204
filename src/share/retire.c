/* The retirement of a side that no slot needs: nothing that a client began may be lost. It is not steered to any
 * more, and the primary accepts what arrives in it all the time. It leaves the group when the handshakes that were
 * under way when it began are over, and it was found empty twice (K27 to K33). */
#include "base/fd.h"
#include "share/sharing.h"
#include "share/sides.h"
#include "share/steering.h"

#include <sys/socket.h>

enum {
	SETTLE_MS = 20,      /* until no SYN is in the old program any more (K31) */
	LOOK_MS = 2,         /* between two looks at the queue */
	HANDSHAKE_MS = 50,   /* between two looks at the handshakes */
	LINGER_MS = 63000,   /* the kernel gives up a handshake after that (tcp_synack_retries, tcp(7)) */
	HOPE_MS = 3000,
};

static void on_timer(uv_timer_t *timer);

static void again(struct side *side, unsigned ms)
{
	uv_timer_start(&side->timer, on_timer, ms, 0);
}

void retire_begin(struct side *side)
{
	side->retires_ms = uv_now(side->share->sharing->loop);
	side->looked_empty = side->knows_begun = false;
	again(side, SETTLE_MS);
}

void retire_cancel(struct side *side)
{
	uv_timer_stop(&side->timer);
	side->retires_ms = 0;
	handshakes_forget(&side->begun);
	side->knows_begun = false;
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

static bool is_begun(const struct side *side)
{
	const struct share *s = side->share;

	return handshakes_are_left(&side->begun, s->sharing->diag, s->listener.address.port);
}

/* The next worker of its slot will take over what waits here, and others do not serve there, or hardly longer. */
static bool is_successor_booting(const struct side *side)
{
	const struct share *s = side->share;

	return side->is_read_alone && side->owner == 0 && !side->was_left &&
	       (s->seat_count == 0 || uv_now(s->sharing->loop) - s->served_ms < HOPE_MS) &&
	       sharing_boots_slot(s->sharing, side->slot);
}

/* Nobody takes what is handed over: who waits is to see an end. */
static bool is_hopeless(const struct side *side)
{
	const struct share *s = side->share;

	for (unsigned i = 0; i < s->seat_count; i++)
		if (!s->seats[i].accepts)
			return false;
	return (s->seat_count > 0 || side->is_read_alone) && !is_successor_booting(side) &&
	       uv_now(s->sharing->loop) - side->retires_ms > HOPE_MS;
}

/* Its worker died, and only the next one can take what comes there. */
static bool is_kept_for_successor(const struct side *side)
{
	const struct sharing *sharing = side->share->sharing;

	return side->is_read_alone && side->owner == 0 && !side->was_left &&
	       sharing_wants_slot(sharing, side->slot) &&
	       (is_successor_booting(side) || uv_now(sharing->loop) - side->retires_ms < HOPE_MS);
}

static void on_timer(uv_timer_t *timer)
{
	struct side *side = timer->data;
	uint64_t start = uv_hrtime();
	struct diag_queue q;

	if (is_kept_for_successor(side)) {
		again(side, HANDSHAKE_MS);
	} else if (!side->knows_begun) {
		/* Not when it began: to walk over all sockets of the machine takes milliseconds for which a successor,
		 * which may take this side over, would wait. */
		side->knows_begun = true;
		handshakes_remember(&side->begun, side->share->sharing->diag, side->share->listener.address.port);
		again(side, LOOK_MS);
	} else if (uv_now(timer->loop) - side->retires_ms < LINGER_MS && is_begun(side)) {
		again(side, diag_pause_ms(uv_hrtime() - start, HANDSHAKE_MS));
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
