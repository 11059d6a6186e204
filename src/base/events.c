#include "base/events.h"

#include "base/fd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void events_init(struct events *e)
{
	memset(e, 0, sizeof(*e));
	TAILQ_INIT(&e->queue);
}

static void event_free(struct queued_event *q)
{
	if (q->event.type == UMBEL_MESSAGE)
		fd_close(&q->event.message.fd);
	if (q->told)
		q->told(q);
	free(q);
}

void events_finish(struct events *e)
{
	struct queued_event *q;

	while ((q = TAILQ_FIRST(&e->queue))) {
		TAILQ_REMOVE(&e->queue, q, link);
		event_free(q);
	}
}

struct queued_event *events_add(struct events *e, enum umbel_event_type type, struct umbel_worker *w,
				const char *text, size_t len)
{
	struct queued_event *q = malloc(sizeof(*q) + len + 1);

	if (!q)
		return NULL;
	memset(q, 0, sizeof(*q));
	q->event.type = type;
	q->event.worker = w;
	memcpy(q->text, text, len);
	q->text[len] = '\0';
	if (type == UMBEL_MESSAGE)
		q->event.message.fd = -1;
	TAILQ_INSERT_TAIL(&e->queue, q, link);
	return q;
}

void events_add_failed(struct events *e, struct umbel_worker *w, int error, const char *why)
{
	struct queued_event *q = events_add(e, UMBEL_FAILED, w, why, strlen(why));

	if (q) {
		q->is_minor = w && e->settled;
		q->event.result.error = error;
		q->event.result.why = q->text;
	}
}

void events_add_note(struct events *e, int slot, const char *what, const char *format, ...)
{
	struct queued_event *q;
	char text[640];
	va_list args;

	if (!e->note)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	q = events_add(e, (enum umbel_event_type)EVENTS_NOTE, NULL, text, strlen(text));
	if (!q)
		return;
	q->slot = slot;
	q->what = what;
}

int events_tell(struct events *e, struct umbel *u, char *why, size_t size)
{
	/* What handlers add meanwhile has its turn after the descriptors have had theirs. */
	struct queued_event *last = TAILQ_LAST(&e->queue, queued_events), *q = NULL;
	bool is_last = !last;
	int err = 0;

	while (!is_last && !err && !e->closed) {
		enum umbel_event_type type;

		q = TAILQ_FIRST(&e->queue);
		is_last = q == last;
		type = q->event.type;
		TAILQ_REMOVE(&e->queue, q, link);
		if ((int)type == EVENTS_NOTE) {
			e->note(q->slot, q->what, q->text, e->note_data);
		} else if (e->handlers[type].f) {
			e->handlers[type].f(u, &q->event, e->handlers[type].data);
		} else if (type == UMBEL_FAILED && !q->is_minor) {
			err = q->event.result.error;
			snprintf(why, size, "%s", q->event.result.why);
		}
		event_free(q);
	}
	if (err)
		return err;
	return !TAILQ_EMPTY(&e->queue);
}

int umbel_take_fd(const struct umbel_event *e)
{
	/* The event is ours and in the heap; only its user sees it as constant. */
	return e->type == UMBEL_MESSAGE ? fd_steal(&((struct umbel_event *)e)->message.fd) : -1;
}
