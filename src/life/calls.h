/* calls: what becomes of each bind(2) and listen(2) of an intercepted worker: left alone, refused, held, or done here and
 * answered. How they come to us: intercept.h. */
#ifndef UMBEL_LIFE_CALLS_H
#define UMBEL_LIFE_CALLS_H

#include "net/trap.h"

#include <stdbool.h>

struct crew;
struct umbel_worker;

enum {
	CALLS_SOCKETS_MOST = 64, /* of one worker */
	CALLS_HELD_MOST = CALLS_SOCKETS_MOST,
};

struct calls {
	struct umbel_worker *worker; /* NULL: it is dead, and nothing is to be answered */
	struct crew *crew;
	int notify;
	struct trap_call held[CALLS_HELD_MOST]; /* of a spare */
	unsigned held_count;
};

void calls_on(struct calls *x, const struct trap_call *call);
void calls_release(struct calls *x); /* it is no spare any more, and has a slot */

/* It has sockets that are sides, or accepts from one that all share: it serves, or is about to. */
bool calls_have_sockets(const struct umbel_worker *w);

#endif
