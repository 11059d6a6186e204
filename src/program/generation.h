/* generation: what all workers started from one version of the program have in common: a number, and
 * the environment of the reload that started them. Shared by slots and workers, and counted. */
#ifndef UMBEL_PROGRAM_GENERATION_H
#define UMBEL_PROGRAM_GENERATION_H

#include <stdbool.h>
#include <stdint.h>

struct generation {
	uint32_t number;
	char **base; /* in the place of the primary's environment and settings.env; NULL: these */
	char **more; /* added after them and the slot's own */
	bool declines;      /* its program does not take sockets that it is offered (activation.h) */
	bool told_no_offer; /* that an address could not be offered to it */
	unsigned references;
};

/* The next of `from` (NULL: the first), with copies. base NULL: from's base, and more added to its own;
 * else base and more, and nothing of from's. 0 or -ENOMEM. */
int generation_create(const struct generation *from, uint32_t number, char *const *base,
		      char *const *more, struct generation **ret);
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g); /* NULL is fine */

#endif
