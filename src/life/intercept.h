/* intercept: the bind(2) and listen(2) of programs that know nothing of us. A socket that a worker binds becomes a
 * side of its slot (sides.h), with the program's own options; at listen(2) it joins the group of its address. The
 * successor of a dead worker gets the dead one's socket in the place of its own, with all that waits there. Facts
 * K46 to K70 in docs/KERNEL.md. Which addresses are shared at all: admission.h. */
#ifndef UMBEL_LIFE_INTERCEPT_H
#define UMBEL_LIFE_INTERCEPT_H

#include <stdbool.h>

struct umbel_worker;

/* Before the fork: where the child sends its notification descriptor (spawn.h). Without one the program is
 * started without a filter, which has been said. 0; -errno: memory or descriptors are short, it is not to be started. */
int intercept_prepare(struct umbel_worker *w, int *ret_child_end);
void intercept_begin(struct umbel_worker *w); /* it is there: its calls are answered from now on */
void intercept_end(struct umbel_worker *w);   /* it is dead: nothing waits any more */
void intercept_destroy(struct umbel_worker *w); /* it was never started */

/* A spare (w->is_spare) is held in its listen(2): worker_happens(w, WORKER_HELD) has told. It has a slot now. */
void intercept_release(struct umbel_worker *w);

#endif
