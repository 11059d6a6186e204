#include "share/refusals.h"

#include <errno.h>
#include <stdlib.h>

struct refusals {
	unsigned returns;
	unsigned count;
	uint32_t ids[];
};

static int make_room(struct refusals **r, unsigned count)
{
	struct refusals *more = realloc(*r, sizeof(**r) + count * sizeof((*r)->ids[0]));

	if (!more)
		return -ENOMEM;
	if (!*r)
		more->count = more->returns = 0;
	*r = more;
	return 0;
}

int refusals_add(struct refusals **r, uint32_t worker_id)
{
	unsigned count = *r ? (*r)->count : 0;
	int err = make_room(r, count + 1);

	if (err)
		return err;
	(*r)->ids[(*r)->count++] = worker_id;
	return 0;
}

unsigned refusals_return(struct refusals **r)
{
	if (!*r && make_room(r, 0) < 0)
		return 0;
	return ++(*r)->returns;
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
