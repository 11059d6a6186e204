/* lane: handed-off connections from the primary to one libumbel worker, over a SOCK_SEQPACKET pair.
 * One message carries 1..LANE_BATCH descriptors and as many bytes, each the number of the listener
 * that the connection came in on: so FIONREAD on the worker's end says how many connections wait.
 * The primary keeps the worker's end too: what a dead worker had not taken is read back from there,
 * and no copy of a connection is kept (a copy would withhold its end from the client). */
#ifndef UMBEL_WIRE_LANE_H
#define UMBEL_WIRE_LANE_H

#include <stdint.h>

#define LANE_BATCH 8
#define LANE_LIMIT 64 /* connections that may wait in one lane */

struct lane_batch {
	unsigned count;
	unsigned lost; /* received: connections whose descriptors did not arrive */
	int fds[LANE_BATCH];
	uint8_t listeners[LANE_BATCH];
};

int lane_open(int *ret_primary_end, int *ret_worker_end); /* both non-blocking */

/* All or nothing; the descriptors stay the caller's. 0, -EAGAIN (full), or another -errno. */
int lane_send(int primary_end, const struct lane_batch *batch);

/* 1: a batch, its descriptors now the caller's; 0: the other end is closed; -EAGAIN: empty; -EMFILE:
 * connections were lost, because this process is out of descriptors (unix(7)): batch has the rest. */
int lane_receive(int worker_end, struct lane_batch *ret);

unsigned lane_waiting(int worker_end);

#endif
