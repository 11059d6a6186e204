/* tail: the last lines that somebody wrote. */
#ifndef UMBEL_TOOL_TAIL_H
#define UMBEL_TOOL_TAIL_H

#include <stddef.h>

enum { TAIL_LINES = 16, TAIL_WIDTH = 240 };

struct tail {
	char lines[TAIL_LINES][TAIL_WIDTH]; /* NUL-terminated, cut, and without control characters */
	unsigned count;                     /* that were ever added */
};

void tail_add(struct tail *t, const char *text, size_t len);

/* The i-th of those that are kept, oldest first; NULL: no more. */
const char *tail_line(const struct tail *t, unsigned i);

#endif
