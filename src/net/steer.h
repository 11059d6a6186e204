/* steer: the classic BPF program of a reuseport group, which returns the index of the socket that a new
 * connection or datagram goes to (SO_ATTACH_REUSEPORT_CBPF, socket(7)). Pure: makes instructions. */
#ifndef UMBEL_NET_STEER_H
#define UMBEL_NET_STEER_H

#include "net/buckets.h"

#include <linux/filter.h>
#include <stdint.h>

#define STEER_MAX 4096 /* instructions that the kernel takes (BPF_MAXINSNS) */

enum steer_by {
	STEER_TO_FIRST, /* all to targets[0]: the door */
	STEER_RANDOM,   /* tcp: each connection by chance, evenly */
	STEER_FLOW,     /* udp: by a hash of both addresses and ports, evenly */
	STEER_CLIENT,   /* by the client's address: buckets_of_client()'s bucket */
};

#define STEER_PROBES_MOST 256

/* A client of a loopback address is known by its port, and goes to a socket of its own. */
struct steer_probe {
	uint16_t port;
	uint16_t target; /* index in the group */
};

struct steer_plan {
	enum steer_by by;
	const uint16_t *targets; /* indexes in the group: 1..256 of them. Of STEER_CLIENT: unused */
	unsigned count;
	const uint16_t *buckets; /* STEER_CLIENT: BUCKETS indexes in the group */
};

/* Fills out (STEER_MAX) and returns how many instructions. Every path ends with an index that is in the
 * plan: one that is not there lets the kernel choose among all (K17 of docs/KERNEL.md). */
unsigned steer_program(const struct steer_plan *plan, struct sock_filter *out);

/* What may be put before any such program, of tcp: who comes from the port of a probe goes to its target, whatever the
 * plan. Fills out and returns how many instructions: 0 without probes. */
unsigned steer_prefix(const struct steer_probe *probes, unsigned count, struct sock_filter *out);

#endif
