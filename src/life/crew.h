/* crew: all workers, and what they have in common. Which slot each is in, and who follows it: slot.h. */
#ifndef UMBEL_LIFE_CREW_H
#define UMBEL_LIFE_CREW_H

#include "base/events.h"
#include "base/reason.h"
#include "net/filter.h"
#include "program/kind.h"
#include "share/sharing.h"
#include "umbel.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <uv.h>

struct death;

/* What a worker tells whoever has put it into its slot. */
struct crew_tells {
	void (*held)(struct umbel_worker *w); /* a spare */
	void (*cannot_be_held)(struct umbel_worker *w, const char *why); /* nor any other of its generation */
	void (*ready)(struct umbel_worker *w);
	void (*soaked)(struct umbel_worker *w); /* it has been ready for settings.soak_ms */
	void (*proved)(struct umbel_worker *w); /* and for settings.min_up_ms */
	void (*leaves)(struct umbel_worker *w); /* by its own wish */
	void (*is_due)(struct umbel_worker *w); /* to be recycled, by its age */
	void (*dead)(struct umbel_worker *w, const struct death *d);
};

struct crew {
	const struct crew_tells *tells;
	uv_loop_t *loop;
	struct events *events;
	struct reason *reason;
	const struct umbel_settings *settings;
	char *const *argv; /* of the primary */
	char *own_path;    /* what settings.exec NULL means */
	enum kind kind;    /* what `auto` found, or what was asked */
	struct rlimit nofile; /* before it was raised */
	struct filter filter; /* of intercepted programs; made when the first is started */
	bool told_no_filter;  /* that it cannot be loaded */
	uint8_t told_of_calls; /* of programs: what was said already */
	bool told_beside;      /* own.h */
	bool told_no_worker;   /* that Node's cluster makes none of it */
	bool told_one_socket;  /* that they share one, since they are too many */
	bool told_policy;     /* that they cannot have it */

	TAILQ_HEAD(workers, umbel_worker) workers; /* by id */
	uint32_t last_id;
	uint64_t oom_kills;  /* as last seen */
	uint64_t random;

	struct sharing sharing;
};

int crew_open(struct crew *crew); /* its members down to argv, and those of sharing, are set. 0 or -errno */
void crew_finish(struct crew *crew); /* no worker is left, and sharing is closed */

uint32_t crew_chance(struct crew *crew); /* any number, for spreading; no secret */

#endif
