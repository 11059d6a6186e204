/* generation: what all workers started from one version of the program have in common: a number, and
 * the environment of the reload that started them. Shared by slots and workers, and counted. */
#ifndef UMBEL_PRIMARY_GENERATION_H
#define UMBEL_PRIMARY_GENERATION_H

#include <stdint.h>

struct generation {
	uint32_t number;
	char **base; /* replaces the primary's environment; NULL: the primary's */
	char **more; /* added to it, after settings.env and the slot's own; NULL: nothing */
	unsigned references;
};

/* The next of `from` (NULL: the first), with copies: base NULL and more NULL: from's own; else base in its
 * place, more added to its own. 0 or -ENOMEM. */
int generation_create(const struct generation *from, uint32_t number, char *const *base,
		      char *const *more, struct generation **ret);
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g); /* NULL is fine */

#endif
