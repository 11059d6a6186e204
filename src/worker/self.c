#include "worker/self.h"

#include "base/address.h"
#include "base/fd.h"
#include "wire/channel.h"
#include "wire/lane.h"
#include "wire/handle.h"
#include "wire/node.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
	MAX_MESSAGE = 16 << 20, /* unless UMBEL_MAX_MESSAGE says what the primary takes */
	MAX_QUEUE = 64 << 20,
	LEAVE_S = 5, /* the primary's answer to exitedAfterDisconnect; Node waits for ever */
};

/* In the order of a life; drawn in docs/ARCHITECTURE.md. */
enum self_state {
	SELF_SERVING,
	SELF_DRAINING, /* nothing new; what was served is being finished */
	SELF_OVER,
};

enum source { SOURCE_CHANNEL, SOURCE_LANE, SOURCE_WAKE, SOURCE_TIMER, SOURCE_SIGNALS };

/* An address that is served, or was until umbel_unlisten(): what is still in the lane is served too. */
struct listen {
	TAILQ_ENTRY(listen) link;
	char *text;
	struct address address;
	umbel_serve *f;
	void *data;
	int64_t query; /* seq of the question that is not answered; -1 */
	char *key;     /* NULL until answered */
	int lane;      /* its number there; -1: connections come as newconn */
	bool closed;
};

struct self {
	struct umbel *umbel;
	struct events *events;
	struct reason *reason;
	enum self_state state;
	bool wants_writable, watches_output, watches_lane;
	int epoll, wake, timer, signals;
	struct channel channel;
	int lane;
	uint32_t seq, id;
	int slot;
	bool libumbel_primary; /* it announced the channel as UMBEL_CHANNEL, or gave us a lane */
	unsigned unacked;      /* descriptors sent */
	int64_t leave_seq; /* of exitedAfterDisconnect, not yet answered; -1 */
	TAILQ_HEAD(, listen) listens;
	atomic_int active;      /* served and not done */
	atomic_int in_done;     /* threads that are in self_done() */
	atomic_bool woken;      /* by the user */
	atomic_bool wants_idle; /* active == 0 is waited for */
};

/* ---- sending ---- */

static void send_internal(struct self *s, char *text)
{
	if (text)
		channel_send(&s->channel, text, strlen(text), -1, CHANNEL_URGENT);
	free(text);
}

static void send_constant(struct self *s, const char *text)
{
	channel_send(&s->channel, text, strlen(text), -1, CHANNEL_URGENT);
}

static int watch(struct self *s, int operation, int fd, enum source source, unsigned events)
{
	struct epoll_event event = {.events = events, .data.u32 = source};

	return epoll_ctl(s->epoll, operation, fd, &event) < 0 ? -errno : 0;
}

static void flush(struct self *s)
{
	bool full;

	if (!channel_is_open(&s->channel))
		return;
	full = channel_has_output(&s->channel) && channel_flush(&s->channel) == 1;
	if (full != s->watches_output)
		watch(s, EPOLL_CTL_MOD, s->channel.fd, SOURCE_CHANNEL, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
	s->watches_output = full;
	if (s->wants_writable && s->channel.out_bytes <= s->channel.max_queue / 2) {
		s->wants_writable = false;
		events_add(s->events, UMBEL_WRITABLE, NULL, "", 0);
	}
}

int self_send(struct self *s, const char *json, size_t len, int fd)
{
	const char *type;
	char *text;
	int err;

	if (!channel_is_open(&s->channel))
		return -EPIPE;
	if (fd < 0) {
		err = channel_send(&s->channel, json, len, -1, 0);
	} else {
		type = handle_type(fd, s->libumbel_primary);
		if (!type)
			return -ENOTSUP;
		text = node_encode_user_handle(type, json, len, &len);
		err = text ? channel_send(&s->channel, text, len, fd, 0) : -ENOMEM;
		free(text);
		s->unacked += !err;
	}
	s->wants_writable |= err == -EAGAIN;
	return err;
}

/* ---- leaving ---- */

static void part(struct self *s)
{
	if (!channel_is_open(&s->channel))
		return;
	epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->channel.fd, NULL);
	channel_close(&s->channel);
}

static void arm_timer(struct self *s, int seconds)
{
	struct itimerspec when = {.it_value.tv_sec = seconds};

	timerfd_settime(s->timer, 0, &when, NULL);
}

static void stop_listening(struct self *s, struct listen *l)
{
	if (l->closed)
		return;
	l->closed = true;
	if (l->key)
		send_internal(s, node_encode_close(l->key, s->seq++));
}

void self_drain(struct self *s)
{
	if (s->state != SELF_SERVING)
		return;
	s->state = SELF_DRAINING;
	atomic_store(&s->wants_idle, true);
	events_add(s->events, UMBEL_DRAIN, NULL, "", 0);
}

int self_stop(struct self *s)
{
	struct listen *l;

	if (s->state != SELF_SERVING)
		return 0;
	if (channel_is_open(&s->channel)) {
		s->leave_seq = s->seq++;
		send_internal(s, node_encode_act("exitedAfterDisconnect", (uint32_t)s->leave_seq));
		arm_timer(s, LEAVE_S);
	}
	/* libumbel's primary hands on nothing more once it has answered. To say that we close would be
	 * wrong there: the last one's close ends the listener, and our successor is to have it. */
	TAILQ_FOREACH (l, &s->listens, link)
		if (!s->libumbel_primary)
			stop_listening(s, l);
	self_drain(s);
	return 0;
}

/* Nothing in hand, nothing on its way, nothing left to tell: the handler of DRAIN may have something to
 * send. */
static bool is_drained(struct self *s)
{
	return atomic_load(&s->active) == 0 && s->leave_seq < 0 &&
	       (s->lane < 0 || lane_waiting(s->lane) == 0) && TAILQ_EMPTY(&s->events->queue);
}

/* A connection overtakes the answer that says which listener its number means: while one is awaited
 * the lane is not read. */
static bool lane_is_readable(const struct self *s)
{
	const struct listen *l;

	if (s->lane < 0 || s->state == SELF_OVER)
		return false;
	TAILQ_FOREACH (l, &s->listens, link)
		if (l->query >= 0)
			return false;
	return true;
}

static void watch_lane(struct self *s)
{
	bool readable = lane_is_readable(s);

	/* Out of the set, not masked: its end would be reported all the same. */
	if (readable != s->watches_lane)
		watch(s, readable ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->lane, SOURCE_LANE, EPOLLIN);
	s->watches_lane = readable;
}

void self_settle(struct self *s)
{
	if (s->state == SELF_DRAINING && is_drained(s))
		s->state = SELF_OVER;
	watch_lane(s);
	flush(s);
	if (s->state == SELF_OVER && !channel_has_output(&s->channel))
		part(s);
}

bool self_is_over(const struct self *s)
{
	return s->state == SELF_OVER && !channel_is_open(&s->channel) && TAILQ_EMPTY(&s->events->queue);
}

/* It has told us to leave, or is gone: then it answers no question (as Node). */
static void expect_no_answer(struct self *s)
{
	struct listen *l;

	s->leave_seq = -1;
	TAILQ_FOREACH (l, &s->listens, link)
		l->query = -1;
}

static void on_channel_end(struct self *s)
{
	part(s);
	expect_no_answer(s);
	events_add(s->events, UMBEL_DISCONNECT, NULL, "", 0);
	if (!s->events->handlers[UMBEL_DISCONNECT].f)
		self_drain(s);
}

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

static void on_lane(struct self *s)
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

static void on_newconn(struct self *s, const struct node_message *m, int *fd)
{
	struct listen *l;

	TAILQ_FOREACH (l, &s->listens, link)
		if (l->key && strcmp(l->key, m->key) == 0 && !l->closed)
			break;
	send_internal(s, node_encode_accepted(m->seq, l != NULL && *fd >= 0, s->seq++));
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

static void listen_free(struct listen *l)
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
			listen_free(l);
		return reason_set(s->reason, -ENOMEM, "out of memory");
	}
	err = channel_send(&s->channel, text, strlen(text), -1, CHANNEL_URGENT);
	free(text);
	if (err) {
		listen_free(l);
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
	stop_listening(s, l);
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
	listen_free(l);
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
	send_internal(s, node_encode_query("listening", &q, s->seq++));
	address_format(&l->address, text, sizeof(text));
	e = events_add(s->events, UMBEL_LISTENING, NULL, text, strlen(text));
	if (!e)
		return;
	e->event.listening.address = e->text;
	e->event.listening.family = l->address.family;
	e->event.listening.port = l->address.port;
}

static void on_query_reply(struct self *s, struct listen *l, const struct node_message *m, bool has_fd)
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
		send_internal(s, node_encode_close(l->key, s->seq++));
	else
		listen_answered(s, l, m);
}

/* ---- what the primary says ---- */

static void on_reply(struct self *s, const struct node_message *m, bool has_fd)
{
	struct listen *l;

	if (s->leave_seq >= 0 && m->ack == s->leave_seq) {
		s->leave_seq = -1;
		return;
	}
	TAILQ_FOREACH (l, &s->listens, link)
		if (l->query >= 0 && l->query == m->ack) {
			on_query_reply(s, l, m, has_fd);
			return;
		}
}

static void on_lane_given(struct self *s, int *fd)
{
	if (*fd < 0 || s->lane >= 0)
		return;
	s->lane = fd_steal(fd);
	s->libumbel_primary = true;
}

static int on_internal(struct self *s, const char *text, size_t len, int *fd)
{
	struct node_message m;
	int err = node_decode(text, len, &m);

	if (err)
		return err;
	switch (m.type) {
	case NODE_REPLY:
		on_reply(s, &m, *fd >= 0);
		break;
	case NODE_NEWCONN:
		on_newconn(s, &m, fd);
		break;
	case NODE_DISCONNECT:
		expect_no_answer(s);
		self_drain(s);
		break;
	case NODE_UMBEL_LANE:
		on_lane_given(s, fd);
		break;
	default:
		break;
	}
	node_message_finish(&m);
	return 0;
}

static void on_message(struct self *s, const struct node_line *l, int *fd)
{
	struct queued_event *e;

	if (!s->events->handlers[UMBEL_MESSAGE].f)
		return;
	e = events_add(s->events, UMBEL_MESSAGE, NULL, l->text, l->len);
	if (!e)
		return;
	e->event.message.json = e->text;
	e->event.message.len = l->len;
	e->event.message.fd = fd_steal(fd);
}

static int on_line(struct self *s, const char *line, size_t len)
{
	struct node_line l;
	int fd = -1, err = node_read_line(line, len, &l);

	if (err)
		return err;
	if (l.kind == NODE_LINE_ACK || l.kind == NODE_LINE_NACK) {
		if (s->unacked == 0)
			return -EPROTO;
		s->unacked--;
		return 0;
	}
	if (l.has_fd) {
		fd = channel_take_fd(&s->channel);
		send_constant(s, fd >= 0 ? NODE_ACK_TEXT : NODE_NACK_TEXT);
		if (fd < 0)
			return 0;
	}
	if (l.kind == NODE_LINE_INTERNAL)
		err = on_internal(s, l.text, l.len, &fd);
	else
		on_message(s, &l, &fd);
	fd_close(&fd);
	return err;
}

static void on_channel(struct self *s)
{
	char *line;
	size_t len;
	int n = channel_read(&s->channel), r = 0;

	if (n == -EAGAIN || n == -ENOMEM)
		return;
	while (n > 0 && (r = channel_next_line(&s->channel, &line, &len)) == 1)
		if ((r = on_line(s, line, len)) < 0)
			break;
	if (r < 0)
		events_add_failed(s->events, NULL, -EPROTO, "the primary broke the protocol");
	if (n <= 0 || r < 0)
		on_channel_end(s);
	else
		channel_drop_strays(&s->channel);
}

/* ---- the loop ---- */

static void on_wake(struct self *s)
{
	uint64_t ignored;

	if (read(s->wake, &ignored, sizeof(ignored)) < 0)
		return;
	if (atomic_exchange(&s->woken, false))
		events_add(s->events, UMBEL_WOKEN, NULL, "", 0);
}

static void on_timer(struct self *s)
{
	arm_timer(s, 0);
	s->leave_seq = -1; /* no answer: leave all the same */
}

static void on_signal(struct self *s)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof(info)) == sizeof(info))
		self_stop(s);
}

static void on_source(struct self *s, const struct epoll_event *e)
{
	switch ((enum source)e->data.u32) {
	case SOURCE_CHANNEL:
		if (e->events & EPOLLOUT)
			flush(s);
		if (e->events & ~(unsigned)EPOLLOUT && channel_is_open(&s->channel))
			on_channel(s);
		break;
	case SOURCE_LANE:
		if (lane_is_readable(s))
			on_lane(s);
		break;
	case SOURCE_WAKE:
		on_wake(s);
		break;
	case SOURCE_TIMER:
		on_timer(s);
		break;
	case SOURCE_SIGNALS:
		on_signal(s);
		break;
	}
}

int self_turn(struct self *s, bool wait)
{
	struct epoll_event events[8];
	bool ready = !TAILQ_EMPTY(&s->events->queue) || s->state == SELF_OVER;
	int n;

	do
		n = epoll_wait(s->epoll, events, 8, wait && !ready ? -1 : 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++)
		on_source(s, &events[i]);
	self_settle(s);
	return 0;
}

void self_touch(struct self *s)
{
	uint64_t one = 1;
	ssize_t ignored;

	self_settle(s);
	/* Something waits in us, not in the kernel: make the descriptor readable. */
	if (!TAILQ_EMPTY(&s->events->queue) || s->state == SELF_OVER) {
		ignored = write(s->wake, &one, sizeof(one));
		(void)ignored;
	}
}

int self_wake(struct self *s)
{
	uint64_t one = 1;
	int saved = errno, err; /* a signal handler must leave it alone */

	atomic_store(&s->woken, true);
	err = write(s->wake, &one, sizeof(one)) < 0 && errno != EAGAIN ? -errno : 0;
	errno = saved;
	return err;
}

int self_watch_signals(struct self *s, int signalfd)
{
	if (s->signals >= 0)
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->signals, NULL);
	s->signals = signalfd;
	return signalfd < 0 ? 0 : watch(s, EPOLL_CTL_ADD, signalfd, SOURCE_SIGNALS, EPOLLIN);
}

int self_fd(const struct self *s)
{
	return s->epoll;
}

int self_slot(const struct self *s)
{
	return s->slot;
}

uint32_t self_id(const struct self *s)
{
	return s->id;
}

/* ---- beginning and end ---- */

/* A decimal number of the environment; -1: not there or not one. */
static long env_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long value;

	if (!text || !*text)
		return -1;
	errno = 0;
	value = strtol(text, &end, 10);
	return errno || *end || value < 0 || value > INT_MAX ? -1 : value;
}

static bool is_node_worker(void)
{
	/* The first alone is a plain child_process.fork(). */
	return getenv("NODE_CHANNEL_FD") && getenv("NODE_UNIQUE_ID");
}

bool self_is_worker(void)
{
	return getenv("UMBEL_CHANNEL") || is_node_worker();
}

static int find_channel(struct reason *reason, int *ret)
{
	const char *name = getenv("UMBEL_CHANNEL") ? "UMBEL_CHANNEL" : "NODE_CHANNEL_FD";
	const char *mode = getenv("NODE_CHANNEL_SERIALIZATION_MODE");
	int fd = (int)env_number(name), type = 0;
	socklen_t size = sizeof(type);

	if (mode && strcmp(mode, "json") != 0)
		return reason_set(reason, -EPROTO, "the primary speaks the serialization '%s', libumbel "
				  "only 'json': set serialization: 'json' in cluster.setupPrimary()", mode);
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
		return reason_set(reason, -EPROTO, "%s=%s is no open stream socket", name, getenv(name));
	*ret = fd;
	return 0;
}

static void forget_environment(void)
{
	unsetenv("UMBEL_CHANNEL");
	unsetenv("NODE_CHANNEL_FD");
	unsetenv("NODE_UNIQUE_ID");
	unsetenv("NODE_CHANNEL_SERIALIZATION_MODE");
}

static int open_descriptors(struct self *s, int channel)
{
	int err;

	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epoll < 0 || s->wake < 0 || s->timer < 0)
		return -errno;
	err = watch(s, EPOLL_CTL_ADD, channel, SOURCE_CHANNEL, EPOLLIN);
	err = err ? err : watch(s, EPOLL_CTL_ADD, s->wake, SOURCE_WAKE, EPOLLIN);
	return err ? err : watch(s, EPOLL_CTL_ADD, s->timer, SOURCE_TIMER, EPOLLIN);
}

int self_open(struct umbel *u, struct events *events, struct reason *reason, struct self **ret)
{
	struct self *s;
	long id, max_message;
	int channel = -1, err = find_channel(reason, &channel);

	if (err)
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return reason_set(reason, -ENOMEM, "out of memory");
	s->umbel = u;
	s->events = events;
	s->reason = reason;
	s->epoll = s->wake = s->timer = s->signals = s->lane = s->channel.fd = -1;
	s->leave_seq = -1;
	TAILQ_INIT(&s->listens);
	err = open_descriptors(s, channel);
	if (err) {
		self_close(s);
		return reason_set(reason, err, "cannot open a worker: %s", strerror(-err));
	}
	fcntl(channel, F_SETFD, FD_CLOEXEC);
	max_message = env_number("UMBEL_MAX_MESSAGE");
	channel_open(&s->channel, channel, max_message > 0 ? (size_t)max_message : MAX_MESSAGE, MAX_QUEUE);
	s->libumbel_primary = getenv("UMBEL_CHANNEL");
	s->slot = env_number("UMBEL_SLOT") > 0 ? (int)env_number("UMBEL_SLOT") : 0;
	id = env_number(getenv("NODE_UNIQUE_ID") ? "NODE_UNIQUE_ID" : "UMBEL_WORKER");
	s->id = id > 0 ? (uint32_t)id : 0;
	send_internal(s, node_encode_act("online", s->seq++));
	/* UMBEL_WORKER may be inherited through a Node primary: then nobody answers, and we do without. */
	if (getenv("UMBEL_WORKER"))
		send_internal(s, node_encode_hello());
	flush(s);
	forget_environment();
	*ret = s;
	return 0;
}

void self_close(struct self *s)
{
	struct listen *l;

	while (atomic_load(&s->in_done) > 0)
		sched_yield(); /* a few instructions of another thread */
	while ((l = TAILQ_FIRST(&s->listens))) {
		TAILQ_REMOVE(&s->listens, l, link);
		listen_free(l);
	}
	channel_close(&s->channel);
	fd_close(&s->lane);
	fd_close(&s->timer);
	fd_close(&s->wake);
	fd_close(&s->epoll);
	free(s);
}
