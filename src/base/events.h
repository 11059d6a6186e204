/* events: what has happened and was not told yet. Whoever notices something appends it here; it is
 * told to the user's handlers at one place, in umbel_dispatch(), so that a handler may call or
 * destroy anything. Shared by both roles. */
#ifndef UMBEL_BASE_EVENTS_H
#define UMBEL_BASE_EVENTS_H

#include "umbel.h"

#include <sys/queue.h>

/* Beside the public types: a decision that was taken. Told by events.note. */
enum { EVENTS_NOTE = UMBEL_EVENT_COUNT };
typedef void events_note(int slot, const char *what, const char *text, void *data);

struct queued_event {
	TAILQ_ENTRY(queued_event) link;
	struct umbel_event event; /* first field of interest; umbel_take_fd() finds the rest from it */
	void (*told)(struct queued_event *e); /* runs after the handler, or instead of it; may be NULL */
	bool is_minor;                        /* a FAILED that may go unhandled */
	int slot;                             /* of a note */
	const char *what;                     /* of a note: a constant */
	char text[];                          /* what event's strings point to */
};
TAILQ_HEAD(queued_events, queued_event);

struct events {
	struct queued_events queue;
	struct {
		umbel_handler *f;
		void *data;
	} handlers[UMBEL_EVENT_COUNT];
	events_note *note; /* NULL: notes are not even kept */
	void *note_data;
	bool settled; /* a worker has been ready: what fails at one is not the end of all any more */
	bool closed; /* the user is done with all of it: nothing more is told */
};

void events_init(struct events *e);
void events_finish(struct events *e); /* drops what was not told */

/* Appends an event whose text[] holds text (len bytes and a NUL). NULL: no memory. */
struct queued_event *events_add(struct events *e, enum umbel_event_type type, struct umbel_worker *w,
				const char *text, size_t len);

/* FAILED with a sentence. */
void events_add_failed(struct events *e, struct umbel_worker *w, int error, const char *why);

/* A decision and what it rests on, for `umbel why` and the run's own lines; slot 0: the whole app's. `what` is a
 * constant. */
void events_add_note(struct events *e, int slot, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Tells everything that is queued; what handlers add meanwhile stays. 0, or the error
 * of the first FAILED that nobody handles; its sentence goes to why (size bytes). 1: more remains. */
int events_tell(struct events *e, struct umbel *u, char *why, size_t size);

#endif
