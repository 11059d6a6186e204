#include "worker/self.h"

#include "base/fd.h"
#include "wire/lane.h"
#include "worker/environment.h"
#include "worker/parts.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
	MAX_MESSAGE = 16 << 20, /* unless UMBEL_MAX_MESSAGE says what the primary takes */
	MAX_QUEUE = 64 << 20,
	GRACE_MS = 25000, /* unless UMBEL_GRACE_MS says what the primary gives */
	LEAVE_MS = 5000,  /* the primary's answer to exitedAfterDisconnect; Node waits for ever */
};

int self_watch(struct self *s, int operation, int fd, uint64_t source, unsigned events)
{
	struct epoll_event event = {.events = events, .data.u64 = source};

	return epoll_ctl(s->epoll, operation, fd, &event) < 0 ? -errno : 0;
}

/* ---- leaving ---- */

void self_part(struct self *s)
{
	if (!channel_is_open(&s->channel))
		return;
	epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->channel.fd, NULL);
	channel_close(&s->channel);
	sent_forget_all(s);
}

static void arm(int timer, long ms)
{
	struct itimerspec when = {.it_value = {ms / 1000, ms % 1000 * 1000000}};

	timerfd_settime(timer, 0, &when, NULL);
}

void self_drain(struct self *s)
{
	if (s->state != SELF_SERVING)
		return;
	s->state = SELF_DRAINING;
	serving_leave(s);
	atomic_store(&s->wants_idle, true);
	events_add(s->events, UMBEL_DRAIN, NULL, "", 0);
}

int self_stop(struct self *s)
{
	if (s->state != SELF_SERVING)
		return 0;
	self_drain(s); /* this first: whoever answers what follows has read that we close */
	if (channel_is_open(&s->channel)) {
		s->leave_seq = s->seq++;
		talk_send(s, node_encode_act("exitedAfterDisconnect", (uint32_t)s->leave_seq));
		arm(s->timer, LEAVE_MS);
	}
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
		self_watch(s, readable ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->lane, SOURCE_LANE, EPOLLIN);
	s->watches_lane = readable;
}

void self_settle(struct self *s)
{
	if (s->state == SELF_DRAINING && is_drained(s))
		s->state = SELF_OVER;
	watch_lane(s);
	talk_flush(s);
	if (s->state == SELF_OVER && !channel_has_output(&s->channel))
		self_part(s);
}

bool self_is_over(const struct self *s)
{
	return s->state == SELF_OVER && !channel_is_open(&s->channel) && TAILQ_EMPTY(&s->events->queue);
}

void self_on_channel_end(struct self *s)
{
	self_part(s);
	serving_expect_no_answer(s);
	events_add(s->events, UMBEL_DISCONNECT, NULL, "", 0);
	if (s->events->handlers[UMBEL_DISCONNECT].f)
		return;
	self_drain(s);
	arm(s->timer, s->grace_ms + 1); /* nobody else would end it */
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
	arm(s->timer, 0);
	s->leave_seq = -1; /* no answer: leave all the same */
	if (!channel_is_open(&s->channel) && s->state == SELF_DRAINING)
		s->state = SELF_OVER;
}

void self_look_again(struct self *s)
{
	if (!s->looks_again)
		arm(s->again, AGAIN_MS);
	s->looks_again = true;
}

static void on_again(struct self *s)
{
	arm(s->again, 0);
	s->looks_again = false;
	serving_answer_refused(s);
	shared_resume(s);
	talk_tell_closed(s);
}

static void on_signal(struct self *s)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof(info)) == sizeof(info))
		self_stop(s);
}

static void on_source(struct self *s, const struct epoll_event *e)
{
	switch ((enum source)(uint32_t)e->data.u64) {
	case SOURCE_CHANNEL:
		if (e->events & EPOLLOUT)
			talk_flush(s);
		if (e->events & ~(unsigned)EPOLLOUT && channel_is_open(&s->channel))
			talk_on_channel(s);
		break;
	case SOURCE_LANE:
		if (lane_is_readable(s))
			serving_on_lane(s);
		break;
	case SOURCE_WAKE:
		on_wake(s);
		break;
	case SOURCE_TIMER:
		on_timer(s);
		break;
	case SOURCE_AGAIN:
		on_again(s);
		break;
	case SOURCE_SIGNALS:
		on_signal(s);
		break;
	case SOURCE_SHARED:
		shared_on_ready(s, (uint32_t)(e->data.u64 >> 32));
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
	if (s->board)
		atomic_fetch_add(&s->board->heartbeat, 1);
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
	return signalfd < 0 ? 0 : self_watch(s, EPOLL_CTL_ADD, signalfd, SOURCE_SIGNALS, EPOLLIN);
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

int self_ready(struct self *s)
{
	bool only_later = TAILQ_EMPTY(&s->listens) && !s->waits_to_be_ready;

	if (!channel_is_open(&s->channel))
		return reason_set(s->reason, -EPIPE, "the primary is gone");
	s->waits_to_be_ready = true;
	talk_send(s, node_encode_ready(!only_later));
	return 0;
}

/* ---- beginning and end ---- */

static int open_descriptors(struct self *s, int channel)
{
	int err;

	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	s->again = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->epoll < 0 || s->wake < 0 || s->timer < 0 || s->again < 0)
		return -errno;
	err = self_watch(s, EPOLL_CTL_ADD, channel, SOURCE_CHANNEL, EPOLLIN);
	err = err ? err : self_watch(s, EPOLL_CTL_ADD, s->wake, SOURCE_WAKE, EPOLLIN);
	err = err ? err : self_watch(s, EPOLL_CTL_ADD, s->timer, SOURCE_TIMER, EPOLLIN);
	return err ? err : self_watch(s, EPOLL_CTL_ADD, s->again, SOURCE_AGAIN, EPOLLIN);
}

int self_open(struct umbel *u, struct events *events, struct reason *reason, struct self **ret)
{
	struct self *s;
	long id, max_message;
	int channel = -1, err = environment_channel(reason, &channel);

	err = err ? err : environment_follow(reason);
	if (err)
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return reason_set(reason, -ENOMEM, "out of memory");
	s->umbel = u;
	s->events = events;
	s->reason = reason;
	s->epoll = s->wake = s->timer = s->again = s->signals = s->lane = s->channel.fd = -1;
	s->leave_seq = -1;
	TAILQ_INIT(&s->listens);
	accounts_init(&s->accounts);
	TAILQ_INIT(&s->sent);
	err = open_descriptors(s, channel);
	if (err) {
		self_close(s);
		return reason_set(reason, err, "cannot open a worker: %s", strerror(-err));
	}
	max_message = environment_number("UMBEL_MAX_MESSAGE");
	channel_open(&s->channel, channel, max_message > 0 ? (size_t)max_message : MAX_MESSAGE, MAX_QUEUE);
	s->libumbel_primary = getenv("UMBEL_CHANNEL");
	s->slot = environment_number("UMBEL_SLOT") > 0 ? (int)environment_number("UMBEL_SLOT") : 0;
	id = environment_number(getenv("NODE_UNIQUE_ID") ? "NODE_UNIQUE_ID" : "UMBEL_WORKER");
	s->id = id > 0 ? (uint32_t)id : 0;
	s->grace_ms = environment_number("UMBEL_GRACE_MS") >= 0 ? environment_number("UMBEL_GRACE_MS") : GRACE_MS;
	talk_send(s, node_encode_act("online", s->seq++));
	/* UMBEL_WORKER may be inherited through a Node primary: then nobody answers, and we do without. */
	if (getenv("UMBEL_WORKER"))
		room_announce(s);
	talk_flush(s);
	environment_forget();
	*ret = s;
	return 0;
}

void self_close(struct self *s)
{
	struct listen *l;

	while (atomic_load(&s->in_done) > 0)
		sched_yield(); /* a few instructions of another thread */
	while ((l = TAILQ_FIRST(&s->listens))) {
		shared_close(s, l);
		TAILQ_REMOVE(&s->listens, l, link);
		serving_free(l);
	}
	accounts_finish(&s->accounts);
	channel_close(&s->channel);
	sent_forget_all(s);
	scoreboard_unmap(s->board);
	fd_close(&s->lane);
	fd_close(&s->timer);
	fd_close(&s->again);
	fd_close(&s->wake);
	fd_close(&s->epoll);
	free(s);
}
