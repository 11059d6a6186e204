/* reason: the sentence behind the last negative result, for umbel_reason(). */
#ifndef UMBEL_BASE_REASON_H
#define UMBEL_BASE_REASON_H

#include <stdbool.h>

struct reason {
	char text[512];
};

/* Stores the sentence and returns err, so that a failing function can end with it. */
int reason_set(struct reason *r, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Of descriptors or memory: not for ever, and nobody's fault who asks. */
bool error_is_lack(int error);

#endif
