/* parts: what the files of the control socket share.
 *
 *     control.c   the socket and its clients
 *     requests.c  what they may ask
 *     policies.c  of that, about policies
 */
#ifndef UMBEL_ADMIN_PARTS_H
#define UMBEL_ADMIN_PARTS_H

#include "admin/control.h"
#include "wire/channel.h"

#include <jansson.h>

struct client {
	TAILQ_ENTRY(client) link;
	struct control *control;
	struct channel channel;
	uv_poll_t poll;
	bool wants_events;
	struct json_t *waiting; /* its reload, which begins when the one that runs is over; NULL */
	int watched;
	bool leaving; /* closed once its answer is out, and not read any more */
	bool stuck;   /* does not read its answers: closed at once */
};

struct control {
	uv_loop_t *loop;
	const struct runtime *rt;
	struct report *report;
	struct history *history;
	control_stop *stop;
	void *data;
	int listener, watcher; /* watcher: inotify of the directory */
	int reserve;           /* for the day when there are no descriptors left */
	uv_poll_t listener_poll, watcher_poll;
	unsigned open_handles, client_count;
	TAILQ_HEAD(, client) clients;
};

/* ---- control.c ---- */

void client_send(struct client *c, json_t *answer); /* takes answer; NULL: no memory */
void client_refuse(struct client *c, const char *why, const char *what); /* the two are joined */

/* ---- policies.c ---- */

void policies_answer(struct client *c, const struct json_t *request);

/* ---- requests.c ---- */

void request_answer(struct client *c, const char *line, size_t len);
void request_again(struct client *c); /* the reload that it waits with */

#endif
