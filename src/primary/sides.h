/* sides: the sockets of a share's slots. A worker borrows one; it outlives the worker, and whoever takes over the
 * slot gets it with all that waits in it. An old and a new worker never have the same one. What arrives in one
 * that no worker is steered to, the primary accepts itself (share.h), so nothing is lost with a worker, nor
 * between the switch of a program and its effect. */
#ifndef UMBEL_PRIMARY_SIDES_H
#define UMBEL_PRIMARY_SIDES_H

#include "net/diag.h"
#include "net/group.h"
#include "net/listener.h"

#include <sys/queue.h>

struct share;
struct umbel_worker;

struct side {
	TAILQ_ENTRY(side) link;
	struct share *share;
	struct listener listener;
	struct group_member member;
	int slot;
	uint32_t owner; /* id of the worker that has a copy; 0: nobody */
	uint64_t released; /* when it was given back last: the how-manieth time in this process */
	unsigned times_shut; /* by somebody else */
	bool is_stale;  /* udp: its worker left in order, so what has come since was for others too */
	bool steered;   /* the kernel gives it what is new */
	bool is_read_alone; /* what is in it only its worker can take: datagrams, or it accepts by itself */
	bool readable;  /* connections may wait in it */
	unsigned open_handles;

	/* its retirement: retire.c */
	uv_timer_t timer;
	uint64_t retires_ms; /* since, of uv_now(); 0: it does not */
	bool looked_empty;
	struct diag_peer *half_open; /* handshakes that began before */
	unsigned half_open_count;
};

struct sides {
	TAILQ_HEAD(, side) list;
	struct group group; /* its count is 0: the share has no sides */
	struct group_member door;
	const struct group_member *moving; /* its index is about to change: nobody is steered there */
	bool paused; /* some are: something waits there that nobody could take */
	uv_timer_t timer;
	uint64_t rebuilds_ms; /* since, of uv_now(): the order is not known, and is made anew; 0: it is known */
};

/* The share has just opened its socket. 0 or -ENOMEM. */
int sides_open(struct share *s);
void sides_close(struct share *s); /* with the share */

/* The worker's: the one it has, one that its slot has left, or a new one. 0 or -errno. */
int sides_take(struct share *s, const struct umbel_worker *w, bool accepts, struct side **ret);
struct side *sides_find(const struct share *s, const struct umbel_worker *w); /* NULL: it has none */
void sides_release(struct share *s, const struct umbel_worker *w); /* it is dead */

/* It is to leave: what only it can take it takes first, then that side is gone. */
void sides_retire_alone(struct share *s, const struct umbel_worker *w);
void sides_trim(struct share *s); /* those that no slot needs any more retire */

void sides_drop(int fd); /* the datagrams that are there */

/* As listener_accept(), from any that nobody is steered to. */
int sides_accept(struct share *s, bool nonblocking);
void sides_arm(struct share *s); /* those that nobody is steered to */
/* Connections (udp: bytes) that wait in a slot's sockets; 0: in all, the door too. */
unsigned sides_waiting(const struct share *s, int slot);

/* Tcp: before and after a socket joins or leaves the group, and when one hangs up: did a worker shut one down? The
 * order may have to be made anew; until then all goes to the door. In order.c. */
void sides_check_order(struct share *s);

/* ---- retire.c ---- */

void retire_begin(struct side *side);
void retire_cancel(struct side *side);
void sides_remove(struct side *side); /* it has left the group */

#endif
