#include "base/fd.h"
#include "wire/handle.h"
#include "worker/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 4 }; /* Node's: once, and three times again */

/* A message that went with a descriptor, until the primary has it. */
struct sent {
	TAILQ_ENTRY(sent) link;
	char *text;
	size_t len;
	int fd;
	unsigned times;
};

static void forget(struct self *s, struct sent *m)
{
	TAILQ_REMOVE(&s->sent, m, link);
	s->sent_count--;
	fd_close(&m->fd);
	free(m->text);
	free(m);
}

void sent_forget_all(struct self *s)
{
	struct sent *m;

	while ((m = TAILQ_FIRST(&s->sent)))
		forget(s, m);
}

int sent_add(struct self *s, char *text, size_t len, int fd)
{
	struct sent *m;
	int err;

	if (s->sent_count >= HANDLE_UNACKED_MOST)
		return -EAGAIN;
	m = calloc(1, sizeof(*m));
	err = m ? channel_send(&s->channel, text, len, fd, CHANNEL_LEND_FD) : -ENOMEM;

	if (err) {
		free(m);
		return err;
	}
	*m = (struct sent){.text = text, .len = len, .fd = fd, .times = 1};
	TAILQ_INSERT_TAIL(&s->sent, m, link);
	s->sent_count++;
	return 0;
}

/* It may go unhandled: that the primary is short of descriptors is no reason to leave it. */
static void report_loss(struct self *s)
{
	static const char why[] = "the primary did not get the descriptor of a message: it is out of descriptors";
	struct queued_event *e = events_add(s->events, UMBEL_FAILED, NULL, why, strlen(why));

	if (!e)
		return;
	e->is_minor = true;
	e->event.result.error = -EMFILE;
	e->event.result.why = e->text;
}

int sent_answered(struct self *s, bool arrived)
{
	struct sent *m = TAILQ_FIRST(&s->sent);

	if (s->sent_count <= s->channel.out_fds) /* nothing has left us that is not answered */
		return -EPROTO;
	if (!arrived && m->times < TRIES &&
	    channel_send(&s->channel, m->text, m->len, m->fd, CHANNEL_LEND_FD | CHANNEL_URGENT) == 0) {
		m->times++;
		TAILQ_REMOVE(&s->sent, m, link);
		TAILQ_INSERT_TAIL(&s->sent, m, link);
		return 0;
	}
	if (!arrived)
		report_loss(s);
	forget(s, m);
	return 0;
}
