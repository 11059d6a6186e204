#include "program/generation.h"

#include "program/settings.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

int generation_create(const struct generation *from, uint32_t number, char *const *base,
		      char *const *more, struct generation **ret)
{
	struct generation *g = calloc(1, sizeof(*g));
	char *const *both[] = {from && !base ? from->more : NULL, more};
	int err;

	if (!g)
		return -ENOMEM;
	g->number = number;
	g->references = 1;
	err = strings_copy(base ? base : from ? from->base : NULL, &g->base);
	err = err ? err : strings_merge(both, 2, &g->more);
	if (err) {
		generation_unref(g);
		return err;
	}
	*ret = g;
	return 0;
}

struct generation *generation_ref(struct generation *g)
{
	g->references++;
	return g;
}

void generation_unref(struct generation *g)
{
	if (!g || --g->references > 0)
		return;
	strings_free(g->base);
	strings_free(g->more);
	free(g);
}
