/* report: what an app looks like now, and what has just happened, as JSON for clients of the control
 * socket. Only looks; the shape is docs/PROTOCOL.md's, which scripts rely on: add, never change. */
#ifndef UMBEL_ADMIN_REPORT_H
#define UMBEL_ADMIN_REPORT_H

#include "umbel.h"

#include <stddef.h>
#include <sys/queue.h>

struct json_t;

/* What the primary itself does not keep: the last end in each slot, the last CPU time seen. */
struct slot_note {
	TAILQ_ENTRY(slot_note) link;
	int slot;
	char last_exit[128]; /* "" none */
	bool bad_exit;
	pid_t sampled_pid;
	uint64_t sampled_ticks;
	int64_t sampled_ms;
	double cpu_percent;
};

struct report {
	const char *name;
	struct umbel *umbel;
	bool stopping;
	bool lame_duck; /* about to stop: not ready any more, but serving */
	int scaled_to;  /* by request; -1: never */
	TAILQ_HEAD(, slot_note) slots;
};

void report_init(struct report *r, const char *name, struct umbel *u);
void report_finish(struct report *r);

/* bad: by its own doing, and not as the operator wants it. */
void report_note_exit(struct report *r, int slot, const char *how, bool bad);
bool report_any_bad(const struct report *r); /* whether the last end in some slot was */
struct json_t *report_status(struct report *r);                         /* new reference, or NULL */
struct json_t *report_event(const struct umbel_event *e);               /* new reference, or NULL */
struct json_t *report_text(const char *text); /* a string; what is not UTF-8 in it becomes '?' */
struct json_t *report_note(int slot, const char *what, const char *text); /* a decision; the same */
const char *report_state_name(enum umbel_state state);                  /* "ready" */

/* Where in an array of objects with a "slot" one more goes: by slot, then in the order of coming. */
size_t report_place_of(const struct json_t *array, int slot);

#endif
