#include "primary/refusals.h"

#include <errno.h>
#include <stdlib.h>

struct refusals {
	unsigned count;
	uint32_t ids[];
};

int refusals_add(struct refusals **r, uint32_t worker_id)
{
	unsigned count = *r ? (*r)->count : 0;
	struct refusals *more = realloc(*r, sizeof(**r) + (count + 1) * sizeof((*r)->ids[0]));

	if (!more)
		return -ENOMEM;
	more->ids[count] = worker_id;
	more->count = count + 1;
	*r = more;
	return 0;
}

bool refusals_has(const struct refusals *r, uint32_t worker_id)
{
	for (unsigned i = 0; r && i < r->count; i++)
		if (r->ids[i] == worker_id)
			return true;
	return false;
}

void refusals_free(struct refusals *r)
{
	free(r);
}
