/* intercept: the bind(2) and listen(2) of programs that know nothing of us. A socket that a worker binds becomes a
 * side of its slot (sides.h), with the program's own options; at listen(2) it joins the group of its address. The
 * successor of a dead worker gets the dead one's socket in the place of its own, with all that waits there. Facts
 * K46 to K70. What a call means is decided in admission.h. */
#ifndef UMBEL_PRIMARY_INTERCEPT_H
#define UMBEL_PRIMARY_INTERCEPT_H

#include <stdbool.h>

struct umbel_worker;

/* The child has sent the notification descriptor, which is taken (-1: it could not load the filter, with error). */
void intercept_begin(struct umbel_worker *w, int notify, int error);
void intercept_end(struct umbel_worker *w); /* it is dead: nothing waits any more */

bool intercept_is_on(const struct umbel_worker *w);

/* It has sockets that are sides: it serves, or is about to. */
bool intercept_has_sockets(const struct umbel_worker *w);

/* A spare (w->is_spare) is held in its first listen(2): worker_happens(w, WORKER_HELD) tells. When it has a slot its
 * calls are answered: */
void intercept_release(struct umbel_worker *w);

#endif
