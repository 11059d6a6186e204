#include "tail.h"

/* ASCII only: who reads it may be a terminal or a JSON parser. */
void tail_add(struct tail *t, const char *text, size_t len)
{
	char *line = t->lines[t->count++ % TAIL_LINES];
	size_t n = len < TAIL_WIDTH ? len : TAIL_WIDTH - 1;

	for (size_t i = 0; i < n; i++)
		line[i] = text[i] >= ' ' && text[i] < 127 ? text[i] : text[i] == '\t' ? ' ' : '?';
	line[n] = '\0';
}

const char *tail_line(const struct tail *t, unsigned i)
{
	unsigned first = t->count > TAIL_LINES ? t->count - TAIL_LINES : 0;

	return first + i < t->count ? t->lines[(first + i) % TAIL_LINES] : NULL;
}
