/* least: who is expected to serve a new connection first. Pure. */
#ifndef UMBEL_NET_LEAST_H
#define UMBEL_NET_LEAST_H

#include <stdbool.h>
#include <stdint.h>

enum least_room {
	LEAST_FREE,
	LEAST_FULL, /* can take nothing now */
	LEAST_BUSY, /* nor can this one, but it may be worth waiting for */
};

struct least_candidate {
	enum least_room room;
	unsigned in_hand;  /* connections it has and has not finished; of Node: not answered */
	uint64_t mean_us;  /* time that one took it; 0: unknown */
	uint64_t cpu;      /* used in the last second, any unit; of libumbel workers 0 */
};

/* The shortest expected wait, (in_hand + 1) x mean_us, where an unknown mean counts as the mean of those that are
 * known (none: 1 us). Means are measured: of those that are at most a quarter longer, who is not busy; then the
 * least cpu; then the first one after `last` in a circle. -1: all are full, or there are none. */
int least_choose(const struct least_candidate *candidates, unsigned count, unsigned last);

/* What a worker has done, in sums that only grow (wrap around): see scoreboard.h. */
struct least_sample {
	uint64_t finished;   /* connections */
	uint64_t service_us; /* time in service of all connections, running ones too */
};

/* The mean after one more look: the mean of what was finished since the last one, half of it, and half of
 * what was known. When nothing was finished: what runs has taken so long already, if that is more (`active`
 * connections share it). Never 0 once something is known. */
uint64_t least_mean(uint64_t mean_us, const struct least_sample *before, const struct least_sample *now,
		    unsigned active);

#endif
