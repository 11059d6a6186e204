/* plan: what a reload does next. Pure: takes where each slot stands, returns one step. */
#ifndef UMBEL_PRIMARY_PLAN_H
#define UMBEL_PRIMARY_PLAN_H

#include <stdbool.h>

/* Where a slot stands. */
enum plan_place {
	PLAN_ABSENT,   /* nobody is wanted there */
	PLAN_OLD,      /* a worker of an older generation serves, or nobody: it has to be begun */
	PLAN_COMING,   /* the new worker is not ready, or has not soaked */
	PLAN_SOAKED,   /* the new worker has soaked, its predecessor serves */
	PLAN_ON_TRIAL, /* the new worker serves, its predecessor is still there and waits */
	PLAN_LEAVING,  /* the new worker serves, the predecessor leaves */
	PLAN_NEW,      /* the new worker is alone */
	PLAN_BOOTING,  /* its worker, of an older generation, is not ready yet */
	PLAN_BUSY,     /* it has two workers for another reason */
};

enum plan_phase {
	PLAN_CANARY, /* the first few */
	PLAN_HOLD,   /* they serve; the others wait for a word or a timer */
	PLAN_REST,
};

struct plan {
	enum plan_phase phase;
	const enum plan_place *places;
	int count;
	unsigned surge;       /* slots with two workers at a time */
	bool all_or_nothing;  /* no predecessor leaves before every successor has soaked */
	unsigned canaries;    /* in phase PLAN_CANARY */
};

enum plan_action {
	PLAN_WAIT,
	PLAN_BEGIN, /* start the successor of `slot` */
	PLAN_TRY,   /* let it serve; the predecessor waits */
	PLAN_TURN,  /* let it serve; the predecessor leaves */
	PLAN_PAUSE, /* the hold begins */
	PLAN_DONE,
};

struct plan_step {
	enum plan_action action;
	int slot; /* index */
};

struct plan_step plan_next(const struct plan *p);

#endif
