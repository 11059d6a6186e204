#include "net/least.h"

/* The sums of two parts, so that no number of large means overflows. 0: none is known. */
static uint64_t known_mean(const struct least_candidate *candidates, unsigned count)
{
	uint64_t known = 0, whole = 0, rest = 0;

	for (unsigned i = 0; i < count; i++)
		known += candidates[i].mean_us > 0;
	if (known == 0)
		return 0;
	for (unsigned i = 0; i < count; i++) {
		whole += candidates[i].mean_us / known;
		rest += candidates[i].mean_us % known;
	}
	return whole + rest / known;
}

/* No worker waits longer than UINT64_MAX, whatever it says of itself. */
static uint64_t expected_wait(const struct least_candidate *candidate, uint64_t unknown_us)
{
	uint64_t mean = candidate->mean_us > 0 ? candidate->mean_us : unknown_us, wait;

	if (__builtin_mul_overflow((uint64_t)candidate->in_hand + 1, mean, &wait))
		return UINT64_MAX;
	return wait;
}

/* Of two whose waits are about the same. */
static bool is_better(const struct least_candidate *one, const struct least_candidate *other)
{
	if (one->room != other->room)
		return one->room == LEAST_FREE;
	return one->cpu < other->cpu;
}

int least_choose(const struct least_candidate *candidates, unsigned count, unsigned last)
{
	uint64_t unknown_us = known_mean(candidates, count), shortest = UINT64_MAX, enough;
	int best = -1;

	if (unknown_us == 0)
		unknown_us = 1;
	for (unsigned i = 0; i < count; i++)
		if (candidates[i].room != LEAST_FULL && expected_wait(&candidates[i], unknown_us) < shortest)
			shortest = expected_wait(&candidates[i], unknown_us);
	enough = shortest < UINT64_MAX - shortest / 4 ? shortest + shortest / 4 : UINT64_MAX;
	for (unsigned step = 1; step <= count; step++) {
		unsigned i = (last % count + step) % count;

		if (candidates[i].room == LEAST_FULL || expected_wait(&candidates[i], unknown_us) > enough)
			continue;
		if (best < 0 || is_better(&candidates[i], &candidates[best]))
			best = (int)i;
	}
	return best;
}

/* A sum that went back (two counters are never read at the same instant) has not grown. */
static uint64_t growth(uint64_t before, uint64_t now)
{
	return now - before <= INT64_MAX ? now - before : 0;
}

uint64_t least_mean(uint64_t mean_us, const struct least_sample *before, const struct least_sample *now,
		    unsigned active)
{
	uint64_t finished = growth(before->finished, now->finished);
	uint64_t service_us = growth(before->service_us, now->service_us), recent_us, next_us;

	if (finished == 0) {
		if (active > 0 && service_us / active > mean_us)
			return service_us / active;
		return mean_us;
	}
	recent_us = service_us / finished;
	if (mean_us == 0)
		next_us = recent_us;
	else
		next_us = mean_us / 2 + recent_us / 2 + (mean_us & recent_us & 1);
	return next_us > 0 ? next_us : 1;
}
