#include "share/chooser.h"

#include "base/fd.h"
#include "share/sharing.h"

#include <errno.h>
#include <stdlib.h>

enum {
	PATIENCE_MS = 1000, /* then the chooser is called without bytes */
	PARKED_MOST = 1024, /* of a share; the others go as its policy says */
};

struct parked {
	TAILQ_ENTRY(parked) link;
	struct share *share;
	struct pending connection;
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned open_handles;
};

static void on_closed(uv_handle_t *handle)
{
	struct parked *p = handle->data;

	if (--p->open_handles == 0) {
		share_unref(p->share);
		free(p);
	}
}

/* The handles go; the connection is the caller's. */
static struct pending unpark(struct parked *p)
{
	TAILQ_REMOVE(&p->share->parked, p, link);
	p->share->parked_count--;
	uv_poll_stop(&p->poll);
	uv_close((uv_handle_t *)&p->poll, on_closed);
	uv_close((uv_handle_t *)&p->timer, on_closed);
	return p->connection;
}

static void is_due(struct parked *p)
{
	struct share *s = p->share;
	struct pending connection = unpark(p);

	connection.chosen = true;
	if (s->chooser)
		connection.wanted = s->chooser(s->sharing->umbel, connection.fd, s->chooser_data);
	if (s->closed) { /* by what the chooser called */
		fd_close(&connection.fd);
		return;
	}
	share_put(s, connection);
	share_on_ready(s);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	is_due(poll->data);
}

static void on_timer(uv_timer_t *timer)
{
	is_due(timer->data);
}

int chooser_park(struct share *s, struct pending *p)
{
	struct parked *parked;

	if (s->parked_count >= PARKED_MOST)
		return -EAGAIN;
	parked = calloc(1, sizeof(*parked));
	if (!parked)
		return -ENOMEM;
	if (uv_poll_init(s->sharing->loop, &parked->poll, p->fd) < 0) {
		free(parked);
		return -EMFILE;
	}
	uv_timer_init(s->sharing->loop, &parked->timer);
	parked->poll.data = parked->timer.data = parked;
	parked->open_handles = 2;
	parked->share = s;
	parked->connection = *p;
	s->open_handles++;
	s->parked_count++;
	TAILQ_INSERT_TAIL(&s->parked, parked, link);
	uv_poll_start(&parked->poll, UV_READABLE | UV_DISCONNECT, on_poll);
	uv_timer_start(&parked->timer, on_timer, PATIENCE_MS, 0);
	return 0;
}

void chooser_close_parked(struct share *s)
{
	struct parked *p;

	while ((p = TAILQ_FIRST(&s->parked))) {
		struct pending connection = unpark(p);

		fd_close(&connection.fd);
	}
}
