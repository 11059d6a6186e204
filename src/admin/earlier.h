/* earlier: what is left of an earlier run of the same name whose primary was killed. The kernel kills only the
 * process that the primary started itself; what that had started (`npm start`, `sh -c 'a; b'`) lives on, and has the
 * port. NAME.lock says whose workers these are; each has its primary in its environment (UMBEL_PRIMARY). */
#ifndef UMBEL_ADMIN_EARLIER_H
#define UMBEL_ADMIN_EARLIER_H

typedef void earlier_found(unsigned count, void *data);

/* `lock` is held, so whoever it names is dead, and did not end in order. Ends all processes of its workers' groups
 * whose first process is dead: SIGTERM, and SIGKILL after the grace. Not those of a worker that lives: it knows that
 * its primary is gone, and finishes what it has. Returns when they are gone, mostly at once. How many they were. */
unsigned earlier_end(int lock, unsigned grace_ms, earlier_found *found, void *data);

void earlier_remember(int lock); /* it is ours now */

#endif
