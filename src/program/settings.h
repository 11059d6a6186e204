/* settings: the primary's own copy of struct umbel_settings, checked; and the vectors of strings
 * that it is made of. */
#ifndef UMBEL_PROGRAM_SETTINGS_H
#define UMBEL_PROGRAM_SETTINGS_H

#include "base/reason.h"
#include "umbel.h"

/* A deep copy of a NULL-terminated vector; NULL stays NULL. 0 or -ENOMEM. */
int strings_copy(char *const *from, char ***ret);
void strings_free(char **strings);

/* "NAME=value" vectors into one new vector, a later entry replacing an earlier one of its name. Each may be
 * NULL. 0 or -ENOMEM. */
int strings_merge(char *const *const *vectors, size_t count, char ***ret);

/* Copies and checks. -EINVAL with a reason that names the field, -ENOMEM. */
int settings_copy(const struct umbel_settings *from, struct umbel_settings *ret, struct reason *reason);
void settings_finish(struct umbel_settings *s);

#define SETTINGS_SPARES_MOST 64

int settings_channel(const struct umbel_settings *s); /* the descriptor at which a worker finds it */

/* What UMBEL_AUTO stands for. */
enum umbel_policy settings_policy(const struct umbel_settings *s);

/* What one slot's workers are in the place of what the settings say. Any may be NULL. */
struct program {
	char *exec;
	char **argv;
	char **env; /* added to the settings' */
};

/* A deep copy. 0 or -ENOMEM. */
int program_copy(const char *exec, char *const *argv, char *const *env, struct program *ret);
void program_finish(struct program *p);

enum { ENVIRONMENT_MOST = 8 };

/* The environment of a worker, a new vector: `base` without what belongs to the primary alone
 * (NOTIFY_SOCKET, WATCHDOG_*, LISTEN_*, NODE_CHANNEL_*, NODE_UNIQUE_ID, NODE_APP_INSTANCE, UMBEL_*), then each of `more`
 * (vectors, at most ENVIRONMENT_MOST, each may be NULL), a later one replacing an earlier of its name. */
int environment_build(char *const *base, char *const *const *more, size_t more_count, char ***ret);

const char *environment_value(char *const *environment, const char *name); /* NULL: it is not there */

#endif
