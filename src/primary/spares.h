/* spares: workers that are started ahead and held before they listen, until a slot needs one. A spare is of the
 * cluster's generation; one that dies, or grows stale, is replaced quietly: a note says so, no slot counts it. Who
 * holds it: dialogue.c, who answers no query of it until then, and intercept.c, who answers no listen(2). */
#ifndef UMBEL_PRIMARY_SPARES_H
#define UMBEL_PRIMARY_SPARES_H

#include "primary/slot.h"

#include <uv.h>

struct cluster;
struct death;
struct umbel_worker;

struct spares {
	struct slot waiting;      /* where they are: number 0, and in no list of slots */
	uv_timer_t timer;         /* until more of them are started */
	uint64_t due_ms;          /* not before, of uv_now(): they die */
	unsigned ends;            /* too soon, in a row */
	uint32_t unfit;           /* this generation cannot be held; 0: not known */
};

void spares_open(struct cluster *c);
void spares_close(struct cluster *c);

/* Something has changed: who is not wanted any more is ended; who is missing is started, soon but not now, when a
 * successor may need the CPU. */
void spares_update(struct cluster *c);

/* What they are started from has changed. */
void spares_renew(struct cluster *c);

/* Out of the pool, for that slot: then spares_release(). NULL: there is none, or it is not the slot's program. */
struct umbel_worker *spares_take(struct slot *slot);
void spares_release(struct umbel_worker *w); /* it goes on from where it was held */

void spares_end(struct umbel_worker *w);
void spares_check_limits(struct cluster *c);

/* ---- worker.c tells ---- */

void spares_worker_held(struct umbel_worker *w);

/* Workers of its generation cannot be held: those that boot are ended, and it is said why. */
void spares_worker_cannot(struct umbel_worker *w, const char *why);
void spares_worker_dead(struct umbel_worker *w, const struct death *d);

/* Pure: how long after the end of one the next is started; ends: too soon, in a row. Milliseconds. */
uint32_t spares_delay_ms(unsigned ends, uint32_t chance);

#endif
