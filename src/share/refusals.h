/* refusals: the workers that have refused one connection (`accepted: false`, or out of descriptors). Each
 * is offered it once; when all have refused it is closed, as a lone server at its limit closes it. */
#ifndef UMBEL_SHARE_REFUSALS_H
#define UMBEL_SHARE_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

struct refusals; /* NULL: nobody has */

/* 0, or -ENOMEM: not noted. */
int refusals_add(struct refusals **r, uint32_t worker_id);
bool refusals_has(const struct refusals *r, uint32_t worker_id);

/* It comes back, refused or not. How often, with this; 0: not counted for want of memory. */
unsigned refusals_return(struct refusals **r);
void refusals_free(struct refusals *r);

#endif
