/* named: the addresses that the operator names (settings.listen): their options, and that workers of another user
 * may have them. */
#ifndef UMBEL_PROGRAM_NAMED_H
#define UMBEL_PROGRAM_NAMED_H

#include "base/address.h"
#include "base/reason.h"
#include "umbel.h"

/* Of settings.listen, NULL-terminated or NULL, the one that is the same as a. Without a host it names those
 * addresses that mean any. False: none. */
bool named_find(char *const *listen, const struct address *a, struct address *ret);

/* Whether the named address is that one: as above. */
bool named_is(const struct address *named, const struct address *a);

/* What the operator says of an address: the options of its name, and for workers of another
 * user that its file is theirs. */
void named_apply(bool is_other_user, const struct umbel_settings *s, struct address *a);

/* What is said there is said; the rest is the worker's. */
void named_merge(struct address_options *options, const struct address_options *named);

/* -EINVAL: one is no address. `field` is what the vector is called. */
int named_check(char *const *addresses, const char *field, struct reason *reason);

#endif
