/* preload: the piece of JavaScript that Node workers get through NODE_OPTIONS, so that they can mark their
 * responses while they drain (src/node/preload.cjs). Where it is, and the variable's new value. */
#ifndef UMBEL_PROGRAM_PRELOAD_H
#define UMBEL_PROGRAM_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>

/* "NODE_OPTIONS=..." with what the worker would get (the last of `more`'s vectors that has it, else base)
 * and ours behind; malloc()ed. NULL: there is no preload to be found, or, for another user, none that
 * everybody may read, or argv or the variable turn on Node's permission model, which may forbid it; then Node must not be told of it, because it would not start. */
char *preload_options(char *const *base, char *const *const *more, size_t count, char *const *argv,
		      bool for_other_user);

/* For tests: the value for a path. */
char *preload_value(const char *old_value, const char *path);

#endif
