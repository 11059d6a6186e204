/* history: what has happened and been decided, with its evidence, for `umbel why`: the last few hundred
 * records, as JSON. Knows nothing of what they mean. */
#ifndef UMBEL_ADMIN_HISTORY_H
#define UMBEL_ADMIN_HISTORY_H

struct json_t;

struct history {
	struct json_t *records; /* NULL until the first */
};

void history_add(struct history *h, const struct json_t *record); /* copied; "slot": whose, 0: the app's */
struct json_t *history_list(const struct history *h, int slot); /* new reference; 0: all; oldest first */
void history_finish(struct history *h);

#endif
