/* slot: a numbered place for a worker, which outlives the worker: who is in it, who follows and when.
 * What a slot may be is life.h's table; when all of them get successors is reload.h. */
#ifndef UMBEL_PRIMARY_SLOT_H
#define UMBEL_PRIMARY_SLOT_H

#include "life/life.h"
#include "program/settings.h"
#include "umbel.h"

#include <uv.h>

struct cluster;
struct generation;

struct slot {
	struct cluster *cluster;
	int number; /* 1.. */
	enum slot_state state;
	bool kept;                    /* refilled when its worker ends */
	bool recycling;               /* the successor comes because of a limit, not of a reload */
	struct program program;       /* of its fork */
	struct generation *generation; /* of who is started here next; NULL: nobody ever was */
	struct umbel_worker *worker;  /* NULL: none */
	struct umbel_worker *next;    /* successor; only while replacing */
	unsigned leaving;             /* who was here and has not ended yet */
	unsigned restarts;            /* workers that followed a dead one */
	struct streak streak;
	int start_error;              /* of the last start; 0 */
	bool on_request;              /* a start that fails now is the caller's to see, not ours to repeat */
	uv_timer_t timer;             /* back-off */
	uint64_t due_ms;              /* its end, of uv_now(); of a recycling that failed: not before */
};

/* A worker of the cluster's generation is wanted here. The program is taken. -errno: it could not be started,
 * the slot is empty as before, and the reason is set. */
int slot_want(struct slot *slot, struct program *program, bool kept, struct umbel_worker **ret);

void slot_retire(struct slot *slot); /* nobody is wanted here any more */

/* A successor beside its worker; instead of it when it serves nobody yet; or into the place of nobody.
 * -errno: it could not be started, and the reason is set. */
int slot_replace(struct slot *slot, struct generation *g);

/* Its next start is of g, and a worker that is not ready yet gives way. */
void slot_revert(struct slot *slot, struct generation *g);
void slot_try(struct slot *slot);   /* the successor serves, and its predecessor waits */
void slot_turn(struct slot *slot);           /* the successor takes the place, the predecessor leaves */
void slot_keep(struct slot *slot);           /* the successor leaves, the predecessor goes on */

bool slot_is_wanted(const struct slot *slot);

/* ---- worker.c tells ---- */

void slot_worker_ready(struct umbel_worker *w);
void slot_worker_soaked(struct umbel_worker *w);
void slot_worker_proved(struct umbel_worker *w); /* alive for settings.min_up_ms after it was ready */
void slot_worker_leaves(struct umbel_worker *w); /* by its own wish */
void slot_worker_dead(struct umbel_worker *w, const struct death *d);
void slot_recycle_due(struct umbel_worker *w); /* it is over one of its limits */

#endif
