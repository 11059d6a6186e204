/* told: what of a worker's calls failed and was said. A program may try the same again and again: each failure is
 * said once, until it is another one or it worked meanwhile. Pure. */
#ifndef UMBEL_LIFE_TOLD_H
#define UMBEL_LIFE_TOLD_H

#include <stdbool.h>
#include <stdint.h>

enum { TOLD_MOST = 16 }; /* at a time; of one worker more is not said */

struct told {
	uint64_t what[TOLD_MOST]; /* hashes */
	int errors[TOLD_MOST];
	unsigned count;
};

bool told_fails(struct told *t, const char *what, const char *address, int error); /* whether it is to be said */
void told_works(struct told *t, const char *what, const char *address);

#endif
