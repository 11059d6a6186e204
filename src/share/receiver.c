#include "share/receiver.h"

#include "share/sharing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void receiver_init(struct receiver *r, struct sharing *sharing, struct umbel_worker *w)
{
	r->sharing = sharing;
	r->worker = w;
	r->lane = r->lane_far = -1;
	TAILQ_INIT(&r->handoffs);
}

void receiver_join(struct receiver *r)
{
	TAILQ_INSERT_TAIL(&r->sharing->receivers, r, link);
}

void receiver_leave(struct receiver *r)
{
	TAILQ_REMOVE(&r->sharing->receivers, r, link);
	if (r->dirty)
		TAILQ_REMOVE(&r->sharing->dirty, r, dirty_link);
	r->dirty = false;
}

void receiver_touch(struct receiver *r)
{
	if (!r->dirty)
		TAILQ_INSERT_TAIL(&r->sharing->dirty, r, dirty_link);
	r->dirty = true;
}

/* What is ours to say comes on top of the user's queue, so much at the most. */
static bool has_stopped_reading(const struct channel *c)
{
	size_t users = c->max_queue > c->max_message ? c->max_queue : c->max_message;

	return c->out_bytes > users + c->max_message;
}

/* An internal message without memory is a broken promise to the worker: end it rather than hang it. */
void receiver_send(struct receiver *r, const char *text, size_t len, int fd, unsigned flags)
{
	if (!channel_is_open(&r->channel))
		return;
	if (!text || channel_send(&r->channel, text, len, fd, CHANNEL_URGENT | flags) < 0)
		r->sharing->asks->end_worker(r->worker, NULL);
	else if (has_stopped_reading(&r->channel))
		receiver_breach(r, "it asks and does not read the answers");
	else
		receiver_touch(r);
}

void receiver_reply(struct receiver *r, char *text)
{
	receiver_send(r, text, text ? strlen(text) : 0, -1, 0);
	free(text);
}

int receiver_breach(struct receiver *r, const char *what)
{
	r->sharing->asks->end_worker(r->worker, what);
	return -EPROTO;
}
