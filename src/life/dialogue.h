/* dialogue: what the primary and one worker say to each other over the channel: every message that
 * comes passes here. What follows from it is done by sharing.c, handoff.c and cluster.c. How we
 * say something: receiver.h. */
#ifndef UMBEL_LIFE_DIALOGUE_H
#define UMBEL_LIFE_DIALOGUE_H

#include "life/worker.h"

/* A user's message, as umbel_send(). */
int dialogue_send_user(struct umbel_worker *w, const char *json, size_t len, int fd);
void dialogue_flush(struct umbel_worker *w);

void dialogue_on_channel(uv_poll_t *poll, int status, int events);

/* Handles all whole lines that were read. 0, or -EPROTO: the worker has been ended. */
int dialogue_read_lines(struct umbel_worker *w);

/* A spare has a slot now: it is told which, and what it has asked for is answered. */
void dialogue_release(struct umbel_worker *w);
void dialogue_forget(struct umbel_worker *w); /* what it has asked for */

/* It is killed: it broke the protocol, which is told as FAILED; or (NULL) it is of no use any more. */
void dialogue_end(struct umbel_worker *w, const char *breach);

/* Looks which sockets that it sent are closed by now, and tells it if it waits for that. */
void dialogue_tell_closed(struct umbel_worker *w);

/* act:disconnect, once every connection that it was handed is answered: what is on its way when the
 * channel ends makes a Node worker fail (docs/PROTOCOL.md). */
void dialogue_disconnect_when_idle(struct umbel_worker *w);

#endif
