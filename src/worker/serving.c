#include "base/fd.h"
#include "wire/lane.h"
#include "worker/parts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* ---- connections ---- */

void serving_on_board(struct self *s, int fd)
{
	struct scoreboard *board;

	if (s->board || scoreboard_map(fd, &board) < 0)
		return;
	s->board = board;
	atomic_fetch_add(&board->heartbeat, 1); /* this says that somebody writes there */
}

/* False: nobody is there who would serve it. */
static bool take(struct self *s, const struct listen *l, int fd)
{
	if (!l || s->events->closed) { /* umbel_close() was called for one before it */
		fd_close(&fd);
		return false;
	}
	atomic_fetch_add(&s->active, 1);
	scoreboard_took(s->board);
	room_on_taken(s);
	return true;
}

void serving_serve(struct self *s, struct listen *l, int fd)
{
	if (take(s, l, fd))
		l->f(s->umbel, fd, l->data);
}

void self_done(struct self *s, int fd)
{
	uint64_t one = 1;
	ssize_t ignored;

	fd_close(&fd);
	atomic_fetch_add(&s->in_done, 1); /* the last one is what self_close() waits for */
	scoreboard_finished(s->board);
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

static void count_received(struct self *s, unsigned count)
{
	if (s->board)
		atomic_fetch_add(&s->board->received, count);
}

static void on_loss(struct self *s, unsigned count)
{
	if (s->board)
		atomic_fetch_add(&s->board->lost, count);
	if (!s->told_loss)
		events_add_failed(s->events, NULL, -EMFILE,
				  "connections were lost: this worker is out of descriptors");
	s->told_loss = true; /* once, until all of a batch arrives again */
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
		on_loss(s, batch.lost);
	else if (r < 0)
		return;
	else
		s->told_loss = false;
	count_received(s, batch.lost);
	for (unsigned i = 0; i < batch.count; i++) {
		struct listen *l = listen_by_lane(s, batch.listeners[i]);
		bool taken = take(s, l, batch.fds[i]);

		count_received(s, 1); /* this after it is taken: the primary counts what is between */
		if (taken)
			l->f(s->umbel, batch.fds[i], l->data);
	}
}

void serving_on_newconn(struct self *s, const struct node_message *m, int *fd)
{
	struct listen *l;

	TAILQ_FOREACH (l, &s->listens, link)
		if (l->key && strcmp(l->key, m->key) == 0 && !l->closed && !l->accepts)
			break;
	if (l && *fd < 0 && s->refused_count < MAX_REFUSED) {
		/* Out of descriptors. Node offers it again at once, to us if nobody else is free: not now. */
		s->refused[s->refused_count++] = m->seq;
		self_look_again(s);
		return;
	}
	talk_send(s, node_encode_accepted(m->seq, l != NULL && *fd >= 0, s->seq++));
	if (!l || *fd < 0)
		return;
	fd_set_nonblocking(*fd, false); /* Node hands over what suits Node */
	serving_serve(s, l, fd_steal(fd));
}

void serving_answer_refused(struct self *s)
{
	for (unsigned i = 0; i < s->refused_count; i++)
		talk_send(s, node_encode_accepted(s->refused[i], false, s->seq++));
	s->refused_count = 0;
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

static struct listen *listen_new(const char *text, const struct address *a, bool accepts, umbel_serve *f,
				 void *data)
{
	struct listen *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->text = strdup(text);
	l->address = *a;
	l->accepts = accepts;
	l->f = f;
	l->data = data;
	l->query = l->lane = l->fd = -1;
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

/* directory: room for ours, which Node puts before an abstract name. Of the options Node has two: its primary
 * does those. */
static struct node_query query_of(const struct address *a, char directory[PATH_MAX])
{
	struct node_query q = {.port = -1, .fd = -1, .family = NODE_PIPE, .address = a->path,
			       .backlog = a->options.backlog,
			       .flags = a->options.ipv6_only ? NODE_FLAG_IPV6ONLY : 0};
	bool ipv6 = a->family == AF_INET6;

	if (a->kind == ADDRESS_UNIX && address_is_abstract(a)) {
		q.is_abstract = true;
		q.address = a->path + 1;
		q.directory = getcwd(directory, PATH_MAX) ? directory : "";
	} else if (a->kind != ADDRESS_UNIX) {
		q.family = a->kind == ADDRESS_UDP ? (ipv6 ? NODE_UDP6 : NODE_UDP4)
						  : (ipv6 ? NODE_TCP6 : NODE_TCP4);
		q.address = a->host[0] ? a->host : NULL;
		q.port = a->port;
	}
	return q;
}

static int ask(struct self *s, struct listen *l)
{
	char directory[PATH_MAX], options[ADDRESS_OPTIONS_MAX], *text;
	struct node_query q = query_of(&l->address, directory);
	int err;

	address_format_options(&l->address.options, options, sizeof(options));
	q.options = options[0] ? options : NULL;
	q.accepts = l->accepts;
	/* Its primary takes "any host" for both families, whatever the flags. */
	if (!s->libumbel_primary && l->address.options.ipv6_only && !q.address) {
		q.address = "::";
		q.family = NODE_TCP6;
	}
	text = node_encode_query("queryServer", &q, s->seq);
	err = text ? channel_send(&s->channel, text, strlen(text), -1, CHANNEL_URGENT) : -ENOMEM;

	free(text);
	if (!err)
		l->query = s->seq++;
	return err;
}

/* For tcp Node's primary chooses the family of "any host"; for udp nobody does. */
static void set_any_host(struct listen *l, int family)
{
	l->both_families = family == AF_INET6 && !l->address.options.ipv6_only;
	l->address.family = family;
	snprintf(l->address.host, sizeof(l->address.host), "%s", family == AF_INET6 ? "::" : "0.0.0.0");
}

static int listen_on(struct self *s, const char *address, bool accepts, umbel_serve *f, void *data)
{
	char text[ADDRESS_TEXT_MAX];
	struct address a;
	struct listen *l;
	const char *why;
	int err;

	if (address_parse(address, &a, &why) < 0)
		return reason_set(s->reason, -EINVAL, "cannot listen on '%s': %s", address, why);
	address_format(&a, text, sizeof(text)); /* a Node primary ends when one address is asked for twice */
	if (listen_by_text(s, text))
		return reason_set(s->reason, -EEXIST, "%s is served already", address);
	if (s->state != SELF_SERVING || !channel_is_open(&s->channel))
		return reason_set(s->reason, -ESHUTDOWN, "cannot listen on %s: this worker is leaving",
				  address);
	l = listen_unanswered(s, text);
	if (l && l->accepts != accepts)
		return reason_set(s->reason, -EEXIST, "%s was asked for before, in another way: the answer is not "
				  "there yet", address);
	if (l) { /* asked for and given up before the answer came: it is wanted after all */
		l->f = f;
		l->data = data;
		l->closed = false;
		return 0;
	}
	l = listen_new(text, &a, accepts, f, data);
	if (!l)
		return reason_set(s->reason, -ENOMEM, "out of memory");
	l->number = s->listen_count++;
	if (a.kind == ADDRESS_UDP && a.family == AF_UNSPEC)
		set_any_host(l, AF_INET6);
	err = ask(s, l);
	if (err) {
		serving_free(l);
		return reason_set(s->reason, err, "cannot ask for %s: %s", address, strerror(-err));
	}
	TAILQ_INSERT_TAIL(&s->listens, l, link);
	return 0;
}

int self_listen(struct self *s, const char *address, umbel_serve *f, void *data)
{
	return listen_on(s, address, false, f, data);
}

int self_listen_socket(struct self *s, const char *address, umbel_serve *f, void *data)
{
	if (strncmp(address, "udp://", 6) == 0)
		return reason_set(s->reason, -EINVAL, "%s: of udp umbel_listen() gives the socket", address);
	return listen_on(s, address, true, f, data);
}

static void stop(struct self *s, struct listen *l)
{
	if (l->closed)
		return;
	l->closed = true;
	shared_close(s, l);
	if (l->key)
		talk_send(s, node_encode_close(l->key, s->seq++));
}

int self_unlisten(struct self *s, const char *address)
{
	char text[ADDRESS_TEXT_MAX];
	struct listen *l = NULL;
	struct address a;
	const char *why;

	if (address_parse(address, &a, &why) == 0)
		l = listen_by_text(s, address_format(&a, text, sizeof(text)));
	if (!l)
		return reason_set(s->reason, -ENOENT, "%s is not served", address);
	stop(s, l);
	return 0;
}

/* ---- the answer ---- */

static void listen_failed(struct self *s, struct listen *l, int error)
{
	char why[ADDRESS_TEXT_MAX + 128];

	snprintf(why, sizeof(why), "cannot listen on %s: %s", l->text,
		 l->accepts && error == -ENOTSUP ? "the primary accepts here and hands over; who accepts by itself "
						   "needs the policy sticky, spread or shared"
						 : strerror(-error));
	TAILQ_REMOVE(&s->listens, l, link);
	events_add_failed(s->events, NULL, error, why);
	serving_free(l);
}

static void listen_answered(struct self *s, struct listen *l, const struct node_message *m)
{
	char directory[PATH_MAX], text[ADDRESS_TEXT_MAX];
	struct node_query q;
	struct queued_event *e;

	if (m->host) {
		snprintf(l->address.host, sizeof(l->address.host), "%s", m->host);
		l->address.family = strchr(m->host, ':') ? AF_INET6 : AF_INET;
		l->address.port = m->port;
	}
	q = query_of(&l->address, directory);
	talk_send(s, node_encode_query("listening", &q, s->seq++));
	address_format(&l->address, text, sizeof(text));
	e = events_add(s->events, UMBEL_LISTENING, NULL, text, strlen(text));
	if (!e)
		return;
	e->event.listening.address = e->text;
	e->event.listening.family = l->address.family;
	e->event.listening.port = l->address.port;
}

static int read_answer(struct listen *l, const struct node_message *m)
{
	if (m->error)
		return m->error > 0 ? -m->error : m->error;
	if (!m->key)
		return -EPROTO;
	l->lane = l->accepts ? -1 : m->lane; /* what comes there all the same is closed */
	l->key = strdup(m->key);
	return l->key ? 0 : -ENOMEM;
}

static bool ask_again(struct self *s, struct listen *l, int error)
{
	if (!l->both_families)
		return false;
	if (error != -EAFNOSUPPORT && error != -EADDRNOTAVAIL && error != -EINVAL)
		return false;
	set_any_host(l, AF_INET);
	return ask(s, l) == 0;
}

void serving_on_reply(struct self *s, struct listen *l, const struct node_message *m, bool has_fd, int *fd)
{
	bool wanted = !l->closed && s->state == SELF_SERVING; /* still? */
	int err = read_answer(l, m);

	l->query = -1;
	if (!err && has_fd && *fd < 0)
		err = -EMFILE;
	if (!err && l->accepts && !has_fd)
		err = -ENOTSUP;
	if (!err && wanted && (has_fd || l->address.kind == ADDRESS_UDP))
		err = shared_take(s, l, fd);
	if (err && wanted && ask_again(s, l, err))
		return;
	if (l->key && (err || !wanted))
		talk_send(s, node_encode_close(l->key, s->seq++));
	if (err) {
		listen_failed(s, l, err);
	} else if (wanted) {
		listen_answered(s, l, m);
		shared_give(s, l, fd);
	}
}

/* ---- leaving ---- */

void serving_leave(struct self *s)
{
	struct listen *l;

	serving_answer_refused(s);
	TAILQ_FOREACH (l, &s->listens, link) {
		shared_close(s, l);
		/* libumbel's primary hands on nothing more once it has asked us to leave or answered our
		 * leave. To say that we close would be wrong there: the last one's close ends the
		 * listener, and our successor is to have it. */
		if (!s->libumbel_primary)
			stop(s, l);
	}
}

/* It has told us to leave, or is gone: then it answers no question (as Node). */
void serving_expect_no_answer(struct self *s)
{
	struct listen *l;

	s->leave_seq = -1;
	TAILQ_FOREACH (l, &s->listens, link)
		l->query = -1;
}
