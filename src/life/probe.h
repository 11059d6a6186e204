/* probe: asks whether a worker is ready: runs settings.ready_command as a child of the primary, again and again, until
 * it exits with 0. It has the worker's environment (but nothing that makes a worker of it), directory and user, a
 * process group of its own, and /dev/null for input and output; the last line that it writes to stderr is kept: it says
 * why the worker is late. Where the worker has a side of a tcp group it gets a
 * socket too, bound to a loopback port, from which the kernel steers to this worker alone (UMBEL_PROBE_FD,
 * `umbel probe`). Meanwhile the worker is given nothing else, unless nobody takes for a second: then it does. */
#ifndef UMBEL_LIFE_PROBE_H
#define UMBEL_LIFE_PROBE_H

struct umbel_worker;

void probe_begin(struct umbel_worker *w); /* nothing, if one is there already or the worker is not starting */
void probe_end(struct umbel_worker *w);   /* kills what runs */

#endif
