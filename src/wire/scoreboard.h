/* scoreboard: what a libumbel worker counts for its primary: a page of shared memory for each worker, a memfd
 * sealed against resizing (an unsealed one lets a worker's ftruncate(2) kill the primary by SIGBUS). The worker
 * asks for it with its hello, the primary sends it with a descriptor, and reads it without a system call. Nothing
 * but figures, `least`, max_connections and the watchdog depends on it; what stands there is the worker's word. */
#ifndef UMBEL_WIRE_SCOREBOARD_H
#define UMBEL_WIRE_SCOREBOARD_H

#include <stdatomic.h>
#include <stdint.h>

/* Sums that only grow, and wrap around. The worker writes (any of its threads), the primary reads. */
struct scoreboard {
	_Atomic uint64_t received;  /* connections, from the lane */
	_Atomic uint64_t taken;     /* connections, of every kind */
	_Atomic uint64_t finished;  /* umbel_done() */
	_Atomic uint64_t began_us;  /* sum of the times at which connections were taken (CLOCK_MONOTONIC) */
	_Atomic uint64_t ended_us;  /* sum of the times at which they were finished */
	_Atomic uint64_t lost;      /* connections whose descriptor did not arrive: MSG_CTRUNC, unix(7) */
	_Atomic uint64_t heartbeat; /* turns of its loop */
};

/* What the primary makes of it: never more than was possible. */
struct scoreboard_view {
	uint64_t received, taken, finished, lost, heartbeat;
	unsigned active;     /* taken and not finished; at most SCOREBOARD_ACTIVE_MOST */
	uint64_t service_us; /* of all connections, running ones until now */
};
#define SCOREBOARD_ACTIVE_MOST (1u << 20)

/* Primary: a new one. ret_fd is for the worker, sealed; the mapping is read-only here. 0 or -errno. */
int scoreboard_create(int *ret_fd, const struct scoreboard **ret);
void scoreboard_unmap(const struct scoreboard *board); /* NULL is fine */
void scoreboard_read(const struct scoreboard *board, struct scoreboard_view *ret);

/* Worker: 0, or -EPROTO: the descriptor is no scoreboard. */
int scoreboard_map(int fd, struct scoreboard **ret);
void scoreboard_took(struct scoreboard *board);     /* NULL is fine: nobody wants to know */
void scoreboard_finished(struct scoreboard *board); /* any thread */

#endif
