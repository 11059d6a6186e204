#include "base/fd.h"
#include "wire/lane.h"
#include "worker/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* ---- connections ---- */

static void serve(struct self *s, struct listen *l, int fd)
{
	if (!l || s->events->closed) { /* umbel_close() was called for one before it */
		fd_close(&fd);
		return;
	}
	atomic_fetch_add(&s->active, 1);
	l->f(s->umbel, fd, l->data);
}

void self_done(struct self *s, int fd)
{
	uint64_t one = 1;
	ssize_t ignored;

	fd_close(&fd);
	atomic_fetch_add(&s->in_done, 1); /* the last one is what self_close() waits for */
	if (atomic_fetch_sub(&s->active, 1) == 1 && atomic_load(&s->wants_idle)) {
		ignored = write(s->wake, &one, sizeof(one));
		(void)ignored;
	}
	atomic_fetch_sub(&s->in_done, 1);
}

static struct listen *listen_by_lane(struct self *s, int number)
{
	struct listen *l, *found = NULL;

	/* The newest: numbers are used again. */
	TAILQ_FOREACH (l, &s->listens, link)
		if (l->lane == number)
			found = l;
	return found;
}

void serving_on_lane(struct self *s)
{
	struct lane_batch batch;
	int r = lane_receive(s->lane, &batch);

	if (r == 0) {
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->lane, NULL);
		s->watches_lane = false;
		fd_close(&s->lane);
		return;
	}
	if (r == -EMFILE)
		events_add_failed(s->events, NULL, -EMFILE,
				  "connections were lost: this worker is out of descriptors");
	else if (r < 0)
		return;
	for (unsigned i = 0; i < batch.count; i++)
		serve(s, listen_by_lane(s, batch.listeners[i]), batch.fds[i]);
}

void serving_on_newconn(struct self *s, const struct node_message *m, int *fd)
{
	struct listen *l;

	TAILQ_FOREACH (l, &s->listens, link)
		if (l->key && strcmp(l->key, m->key) == 0 && !l->closed)
			break;
	talk_send(s, node_encode_accepted(m->seq, l != NULL && *fd >= 0, s->seq++));
	if (!l || *fd < 0)
		return;
	fd_set_nonblocking(*fd, false); /* Node hands over what suits Node */
	serve(s, l, fd_steal(fd));
}

/* ---- listening ---- */

static struct listen *listen_by_text(struct self *s, const char *text)
{
	struct listen *l;

	TAILQ_FOREACH (l, &s->listens, link)
		if (!l->closed && strcmp(l->text, text) == 0)
			return l;
	return NULL;
}

static struct listen *listen_unanswered(struct self *s, const char *text)
{
	struct listen *l;

	TAILQ_FOREACH (l, &s->listens, link)
		if (l->closed && l->query >= 0 && strcmp(l->text, text) == 0)
			return l;
	return NULL;
}

static struct listen *listen_new(const char *text, const struct address *a, umbel_serve *f, void *data)
{
	struct listen *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->text = strdup(text);
	l->address = *a;
	l->f = f;
	l->data = data;
	l->query = l->lane = -1;
	if (l->text)
		return l;
	free(l);
	return NULL;
}

void serving_free(struct listen *l)
{
	free(l->text);
	free(l->key);
	free(l);
}

static struct node_query query_of(const struct address *a)
{
	struct node_query q = {.port = -1, .fd = -1, .family = NODE_PIPE, .address = a->path};

	if (a->kind == ADDRESS_TCP) {
		q.family = a->family == AF_INET6 ? NODE_TCP6 : NODE_TCP4;
		q.address = a->host[0] ? a->host : NULL;
		q.port = a->port;
	}
	return q;
}

int self_listen(struct self *s, const char *address, umbel_serve *f, void *data)
{
	struct address a;
	struct node_query q;
	struct listen *l;
	const char *why;
	char *text;
	int err;

	if (address_parse(address, &a, &why) < 0)
		return reason_set(s->reason, -EINVAL, "cannot listen on '%s': %s", address, why);
	if (listen_by_text(s, address))
		return reason_set(s->reason, -EEXIST, "%s is served already", address);
	if (s->state != SELF_SERVING || !channel_is_open(&s->channel))
		return reason_set(s->reason, -ESHUTDOWN, "cannot listen on %s: this worker is leaving",
				  address);
	l = listen_unanswered(s, address);
	if (l) { /* asked for and given up before the answer came: it is wanted after all */
		l->f = f;
		l->data = data;
		l->closed = false;
		return 0;
	}
	q = query_of(&a);
	l = listen_new(address, &a, f, data);
	text = l ? node_encode_query("queryServer", &q, s->seq) : NULL;
	if (!text) {
		if (l)
			serving_free(l);
		return reason_set(s->reason, -ENOMEM, "out of memory");
	}
	err = channel_send(&s->channel, text, strlen(text), -1, CHANNEL_URGENT);
	free(text);
	if (err) {
		serving_free(l);
		return reason_set(s->reason, err, "cannot ask for %s: %s", address, strerror(-err));
	}
	l->query = s->seq++;
	TAILQ_INSERT_TAIL(&s->listens, l, link);
	return 0;
}

int self_unlisten(struct self *s, const char *address)
{
	struct listen *l = listen_by_text(s, address);

	if (!l)
		return reason_set(s->reason, -ENOENT, "%s is not served", address);
	serving_stop(s, l);
	return 0;
}

static void listen_failed(struct self *s, struct listen *l, int error)
{
	char why[ADDRESS_TEXT_MAX + 128];

	snprintf(why, sizeof(why), "cannot listen on %s: %s", l->text,
		 error == -ENOTSUP ? "the primary shares its socket (SCHED_NONE), which this version "
				     "of libumbel does not take"
				   : strerror(-error));
	TAILQ_REMOVE(&s->listens, l, link);
	events_add_failed(s->events, NULL, error, why);
	serving_free(l);
}

static void listen_answered(struct self *s, struct listen *l, const struct node_message *m)
{
	struct node_query q;
	struct queued_event *e;
	char text[ADDRESS_TEXT_MAX];

	if (m->host) {
		snprintf(l->address.host, sizeof(l->address.host), "%s", m->host);
		l->address.family = strchr(m->host, ':') ? AF_INET6 : AF_INET;
		l->address.port = m->port;
	}
	q = query_of(&l->address);
	talk_send(s, node_encode_query("listening", &q, s->seq++));
	address_format(&l->address, text, sizeof(text));
	e = events_add(s->events, UMBEL_LISTENING, NULL, text, strlen(text));
	if (!e)
		return;
	e->event.listening.address = e->text;
	e->event.listening.family = l->address.family;
	e->event.listening.port = l->address.port;
}

void serving_on_reply(struct self *s, struct listen *l, const struct node_message *m, bool has_fd)
{
	int error = m->error > 0 ? -m->error : m->error;

	l->query = -1;
	if (!error && has_fd)
		error = -ENOTSUP;
	if (!error && !m->key)
		error = -EPROTO;
	if (!error) {
		l->key = strdup(m->key);
		error = l->key ? 0 : -ENOMEM;
	}
	if (error) {
		listen_failed(s, l, error);
		return;
	}
	l->lane = m->lane;
	if (l->closed || s->state != SELF_SERVING) /* while the answer was on its way */
		talk_send(s, node_encode_close(l->key, s->seq++));
	else
		listen_answered(s, l, m);
}

/* ---- leaving ---- */

void serving_stop(struct self *s, struct listen *l)
{
	if (l->closed)
		return;
	l->closed = true;
	if (l->key)
		talk_send(s, node_encode_close(l->key, s->seq++));
}

/* It has told us to leave, or is gone: then it answers no question (as Node). */
void serving_expect_no_answer(struct self *s)
{
	struct listen *l;

	s->leave_seq = -1;
	TAILQ_FOREACH (l, &s->listens, link)
		l->query = -1;
}
