/* reload: a new generation in the place of the old one, slot by slot, and back when it does not come up.
 * What comes next is plan.h's to decide; what a slot does then is slot.h's. */
#ifndef UMBEL_PRIMARY_RELOAD_H
#define UMBEL_PRIMARY_RELOAD_H

#include "primary/plan.h"
#include "umbel.h"

#include <uv.h>

struct cluster;
struct death;
struct generation;

struct reload {
	bool running, undoing;
	bool again; /* one more was wanted by a signal meanwhile */
	enum plan_phase phase;
	struct generation *generation; /* the new one */
	unsigned canaries;
	uint32_t hold_ms; /* 0: until told */
	uint64_t started_ms, hold_until_ms; /* of uv_now(); the latter 0: not in a timed hold */
	int error;        /* of the undo */
	char why[512];
	uv_timer_t hold;
	uv_idle_t consider; /* slots have changed: look at them once they have settled */
};

void reload_open(struct cluster *c);
void reload_close(struct cluster *c);

/* base, more: as generation_create(). 0, -EBUSY, -ESHUTDOWN, -ENOMEM, with the reason set. */
int reload_begin(struct cluster *c, unsigned canary, uint32_t hold_ms, char *const *base, char *const *more);
void reload_by_signal(struct cluster *c); /* now, or once more after the one that runs */
int reload_end(struct cluster *c, bool undo);
void reload_stop(struct cluster *c); /* the cluster is stopping */

bool reload_is_running(const struct cluster *c);
const char *reload_phase(const struct cluster *c); /* "rolling", "canary", "hold", "undo"; NULL: none runs */

/* ---- slot.c tells ---- */

void reload_consider(struct cluster *c);
void reload_worker_leaves(struct umbel_worker *w); /* a successor, by its own wish */
void reload_worker_dead(struct umbel_worker *w, const struct death *d);

#endif
