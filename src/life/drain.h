/* drain: waits until a worker that cannot be told to leave has nothing to do: it is steered to no more, what waits in
 * its sockets it has taken, and its connections are closed or idle. Then it may get its signal. Facts K71 to K76. */
#ifndef UMBEL_LIFE_DRAIN_H
#define UMBEL_LIFE_DRAIN_H

struct umbel_worker;

/* It is steered to no more. worker_happens(w, WORKER_DRAINED) when it is done; its grace is somebody else's. */
void drain_begin(struct umbel_worker *w);
void drain_end(struct umbel_worker *w); /* it is dead, or was signalled: nothing is watched any more */

#endif
