/* sides: the sockets of a share's slots. A worker borrows one; it outlives the worker, and whoever takes over the
 * slot gets it with all that waits in it. An old and a new worker never have the same one. What arrives in one
 * that no worker is steered to, the primary accepts itself (share.h), so nothing is lost with a worker, nor
 * between the switch of a program and its effect. */
#ifndef UMBEL_SHARE_SIDES_H
#define UMBEL_SHARE_SIDES_H

#include "net/diag.h"
#include "net/group.h"
#include "net/handshakes.h"
#include "net/listener.h"
#include "share/pads.h"
#include "share/strangers.h"

#include <sys/queue.h>

struct share;
struct receiver;

struct side {
	TAILQ_ENTRY(side) link;
	struct share *share;
	struct listener listener;
	struct group_member member;
	int slot;
	uint32_t owner; /* id of the worker that has a copy; 0: nobody */
	uint64_t released; /* when it was given back last: the how-manieth time in this process */
	unsigned times_shut; /* by somebody else */
	unsigned waited, looks; /* closed.c: at the last look; since when none was taken */
	bool is_stale;  /* udp: its worker left in order, so what has come since was for others too */
	bool steered;   /* the kernel gives it what is new */
	bool is_read_alone; /* what is in it only its worker can take: datagrams, or it accepts by itself */
	bool is_program; /* a program's own, or given to one that knows nothing of us: nobody else accepts from it (it may
			  * block), and it is not shut down while a worker has it */
	bool is_offered; /* its worker found it at its start (activation.h), and may take it or not */
	bool listens;    /* it is in the group. Of a program's own: not before its listen(2) */
	bool was_left;   /* its worker was asked to leave: nobody is to come for it */
	bool readable;  /* connections may wait in it */
	unsigned open_handles;

	/* its retirement: retire.c */
	uv_timer_t timer;
	uint64_t retires_ms; /* since, of uv_now(); 0: it does not */
	bool looked_empty;
	struct handshakes begun; /* before */
	bool knows_begun;        /* it was looked for them */
};

struct sides {
	TAILQ_HEAD(, side) list;
	struct group group; /* its count is 0: the share has no sides */
	struct group_member door;
	struct pad pads[PADS];
	const struct group_member *moving; /* its index is about to change: nobody is steered there */
	struct strangers strangers;
	bool paused; /* some are: something waits there that nobody could take */
	uv_timer_t timer;
	uint64_t rebuilds_ms; /* since, of uv_now(): the order is not known, and is made anew; 0: it is known */
};

/* The share has just opened its socket. 0 or -ENOMEM. */
int sides_open(struct share *s);
void sides_close(struct share *s); /* with the share */

/* The worker's: the one it has, one that its slot has left, or a new one. 0 or -errno. */
int sides_take(struct share *s, const struct receiver *r, bool accepts, struct side **ret);

/* A program's own socket (or one in its place), bound to the share's address, is the worker's; it joins the group
 * with sides_listen(). Taken. 0 or -ENOMEM. */
int sides_adopt(struct share *s, const struct receiver *r, int fd, struct side **ret);
int sides_listen(struct side *side);         /* the door too, when it is the first. 0 or -errno */
struct side *sides_find_left(const struct share *s, int slot); /* by a worker that died: its successor's; or NULL */
void sides_give(struct side *side, const struct receiver *r);
void sides_give_back(struct side *side);      /* its worker has it no more */
bool sides_have_workers(const struct share *s); /* a worker has a program's own, which listens */

struct side *sides_find(const struct share *s, const struct receiver *r); /* NULL: it has none */
bool sides_has_listening(const struct share *s, const struct receiver *r); /* it has one that listens */
void sides_release(struct share *s, const struct receiver *r); /* it is dead */

/* It is to leave: what only it can take it takes first, then that side is gone. */
void sides_retire_alone(struct share *s, const struct receiver *r);
void sides_trim(struct share *s); /* those that no slot needs any more retire */

void sides_drop(int fd); /* the datagrams that are there */

/* As listener_accept(), from any that nobody is steered to. */
int sides_accept(struct share *s, bool nonblocking);
void sides_arm(struct share *s); /* those that nobody is steered to */
/* Connections (udp: bytes) that wait in a slot's sockets; 0: in all, the door too. */
unsigned sides_waiting(const struct share *s, int slot);

/* Tcp: before and after a socket joins or leaves the group, and when one hangs up: did a worker shut one down, or
 * another program join or leave? The order may have to be made anew; until then all goes to the door. In order.c. */
void sides_check_order(struct share *s);

/* ---- retire.c ---- */

void retire_begin(struct side *side);
void retire_cancel(struct side *side);
void sides_remove(struct side *side); /* it has left the group */

#endif
