#include "net/rotation.h"

int rotation_choose(const void *seats, unsigned count, unsigned last, rotation_load *load)
{
	int best = -1, lowest = 0;

	for (unsigned step = 1; step <= count; step++) {
		unsigned seat = (last + step) % count;
		int l = load(seats, seat);

		if (l == ROTATION_FULL || (best >= 0 && l >= lowest))
			continue;
		best = (int)seat;
		lowest = l;
		if (l == 0)
			break;
	}
	return best;
}
