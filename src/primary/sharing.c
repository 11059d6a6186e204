#include "primary/sharing.h"

#include "base/fd.h"
#include "net/rotation.h"
#include "primary/cluster.h"
#include "primary/worker.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
	ROUND = 32,        /* connections accepted before other descriptors have their turn */
	ORPHAN_MS = 30000, /* a listener waits so long for the successor of its last worker */
};

static void lanes_watch(struct cluster *c, bool watch);

/* ---- shares ---- */

static void share_set_waiting(struct share *s, bool waiting)
{
	if (s->waiting != waiting)
		s->cluster->sharing.waiting += waiting ? 1 : -1u;
	s->waiting = waiting;
}

static int number_take(struct sharing *sharing)
{
	/* In a circle: a lane may still hold connections of a listener that is closed by now. */
	for (int i = 0; i < 256; i++) {
		int n = sharing->next_number++;

		if (!(sharing->numbers[n / 8] & 1 << n % 8)) {
			sharing->numbers[n / 8] |= (uint8_t)(1 << n % 8);
			return n;
		}
	}
	return -1;
}

static void share_free(struct share *s)
{
	json_decref(s->data);
	free(s->key);
	free(s->key_json);
	free(s->address);
	free(s->seats);
	free(s->pending);
	free(s);
}

static void on_orphan_closed(uv_handle_t *handle)
{
	struct share *s = handle->data;

	if (--s->open_handles == 0)
		share_free(s);
}

static struct share *share_of(struct listener *l)
{
	return (struct share *)((char *)l - offsetof(struct share, listener));
}

static void on_listener_closed(struct listener *l)
{
	struct share *s = share_of(l);

	if (--s->open_handles == 0)
		share_free(s);
}

static void share_close(struct share *s)
{
	struct sharing *sharing = &s->cluster->sharing;
	struct umbel_worker *w;

	TAILQ_FOREACH (w, &s->cluster->workers, link)
		worker_forget_share(w, s);
	share_set_waiting(s, false);
	TAILQ_REMOVE(&sharing->shares, s, link);
	if (s->number >= 0)
		sharing->numbers[s->number / 8] &= (uint8_t)~(1 << s->number % 8);
	for (unsigned i = 0; i < s->pending_count; i++)
		fd_close(&s->pending[i].fd);
	s->pending_count = 0;
	listener_close(&s->listener, on_listener_closed);
	uv_close((uv_handle_t *)&s->orphan, on_orphan_closed);
}

static void on_orphan(uv_timer_t *timer)
{
	share_close(timer->data);
}

/* ---- the way of a connection ---- */

struct choice {
	const struct share *share;
	uint32_t not_to; /* id of the worker that has just refused it */
};

static int seat_load(const void *seats, unsigned seat)
{
	const struct choice *choice = seats;
	struct umbel_worker *w = choice->share->seats[seat].worker;

	return w->id == choice->not_to ? ROTATION_FULL : worker_load(w);
}

static int choose(const struct share *s)
{
	uint32_t not_to = s->pending_count ? s->pending[0].refused_by : 0;
	struct choice choice = {s, s->seat_count > 1 ? not_to : 0};

	return rotation_choose(&choice, s->seat_count, s->last, seat_load);
}

/* There is a connection for the chosen one: now it is its turn that is over. */
static void take_turn(struct share *s, unsigned seat)
{
	for (unsigned i = (s->last + 1) % s->seat_count; i != seat; i = (i + 1) % s->seat_count)
		s->seats[i].skipped++;
	s->last = seat;
}

static int pending_add(struct share *s, struct pending p)
{
	if (s->pending_count == s->pending_size) {
		unsigned size = s->pending_size ? s->pending_size * 2 : 16;
		struct pending *more = reallocarray(s->pending, size, sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->pending = more;
		s->pending_size = size;
	}
	s->pending[s->pending_count++] = p;
	return 0;
}

/* The next connection for `to`: the oldest that came back, else a new one. 0, or as listener_accept(). */
static int next_connection(struct share *s, const struct umbel_worker *to, struct pending *ret)
{
	bool nonblocking = !(worker_has_lane(to) && s->number >= 0);
	int fd;

	if (s->pending_count > 0) {
		*ret = s->pending[0];
		memmove(s->pending, s->pending + 1, --s->pending_count * sizeof(*s->pending));
		if (ret->nonblocking != nonblocking)
			fd_set_nonblocking(ret->fd, nonblocking);
		ret->nonblocking = nonblocking;
		return 0;
	}
	fd = listener_accept(&s->listener, nonblocking);
	if (fd < 0)
		return fd;
	*ret = (struct pending){.fd = fd, .nonblocking = nonblocking};
	return 0;
}

/* What the lanes took is closed here in one go: the numbers are neighbours. */
struct round {
	struct umbel_worker *touched[ROUND];
	unsigned touched_count;
	int sent[ROUND];
	unsigned sent_count;
};

static void round_flush(struct round *r, struct share *s, struct umbel_worker *w)
{
	struct lane_batch *out = &w->lane_out;
	unsigned count = out->count;
	int err;

	if (count == 0)
		return;
	err = worker_flush_lane(w);
	out->count = 0;
	for (unsigned i = 0; i < count; i++) {
		if (err)
			sharing_give_back(s->cluster, s, out->fds[i], false, 0, 0);
		else
			r->sent[r->sent_count++] = out->fds[i];
	}
}

static void round_hand(struct round *r, struct share *s, struct subscription *to, struct pending *p)
{
	struct umbel_worker *w = to->worker;

	if (worker_hand(w, s, p->fd, p->refusals) < 0) {
		fd_close(&p->fd); /* no memory even for a few bytes */
		return;
	}
	to->handed++;
	if (w->lane_out.count == 1)
		r->touched[r->touched_count++] = w;
	else if (w->lane_out.count == LANE_BATCH)
		round_flush(r, s, w);
}

static void share_dispatch(struct share *s)
{
	struct round r = {.touched_count = 0};
	unsigned n;

	share_set_waiting(s, false);
	for (n = 0; n < ROUND; n++) {
		int seat = choose(s);
		struct pending p;

		if (seat < 0) {
			listener_pause(&s->listener);
			share_set_waiting(s, true);
			break;
		}
		if (next_connection(s, s->seats[seat].worker, &p) < 0)
			break;
		take_turn(s, (unsigned)seat);
		round_hand(&r, s, &s->seats[seat], &p);
	}
	for (unsigned i = 0; i < r.touched_count; i++)
		round_flush(&r, s, r.touched[i]);
	fd_close_all(r.sent, r.sent_count);
	if (n == ROUND)
		listener_arm(&s->listener); /* there may be more */
}

static void on_ready(struct listener *l)
{
	struct share *s = share_of(l);

	share_dispatch(s);
	if (s->cluster->sharing.waiting)
		lanes_watch(s->cluster, true);
}

void sharing_give_back(struct cluster *c, struct share *s, int fd, bool nonblocking, unsigned refusals,
		       uint32_t refused_by)
{
	struct pending p = {fd, nonblocking, refusals, refused_by};

	/* Refused by as many as there are: as a lone server at its limit it is closed. */
	if (!s || (refused_by && refusals >= s->seat_count) || pending_add(s, p) < 0) {
		fd_close(&fd);
		return;
	}
	share_set_waiting(s, true);
}

void sharing_resume(struct cluster *c)
{
	struct share *s;

	if (c->sharing.waiting == 0)
		return;
	TAILQ_FOREACH (s, &c->sharing.shares, link)
		if (s->waiting)
			share_dispatch(s);
	lanes_watch(c, c->sharing.waiting > 0);
}

/* ---- room in the lanes ---- */

static void on_lanes(uv_poll_t *poll, int status, int events)
{
	struct cluster *c = poll->data;
	struct epoll_event ignored[16];

	/* Edge-triggered: looking at them is what silences them until the next read. */
	while (epoll_wait(c->sharing.lanes, ignored, 16, 0) == 16)
		;
	sharing_resume(c);
}

static void lanes_watch(struct cluster *c, bool watch)
{
	struct sharing *sharing = &c->sharing;

	if (watch == sharing->lanes_watched)
		return;
	sharing->lanes_watched = watch;
	if (watch)
		uv_poll_start(&sharing->lanes_poll, UV_READABLE, on_lanes);
	else
		uv_poll_stop(&sharing->lanes_poll);
}

int sharing_watch_lane(struct cluster *c, int primary_end)
{
	struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

	return epoll_ctl(c->sharing.lanes, EPOLL_CTL_ADD, primary_end, &event) < 0 ? -errno : 0;
}

/* ---- joining and leaving ---- */

static int seat_add(struct share *s, struct umbel_worker *w)
{
	if (s->seat_count == s->seat_size) {
		unsigned size = s->seat_size ? s->seat_size * 2 : 8;
		struct subscription *more = reallocarray(s->seats, size, sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->seats = more;
		s->seat_size = size;
	}
	s->seats[s->seat_count++] = (struct subscription){.worker = w};
	uv_timer_stop(&s->orphan);
	return 0;
}

static int seat_of(const struct share *s, const struct umbel_worker *w)
{
	for (unsigned i = 0; i < s->seat_count; i++)
		if (s->seats[i].worker == w)
			return (int)i;
	return -1;
}

/* The others keep their order, and the turn stays with whom it was. */
static void seat_remove(struct share *s, unsigned seat)
{
	s->seat_count--;
	memmove(s->seats + seat, s->seats + seat + 1, (s->seat_count - seat) * sizeof(*s->seats));
	if (s->last >= seat)
		s->last = s->last ? s->last - 1 : (s->seat_count ? s->seat_count - 1 : 0);
}

static struct share *find_by_key(struct cluster *c, const char *key)
{
	struct share *s;

	TAILQ_FOREACH (s, &c->sharing.shares, link)
		if (strcmp(s->key, key) == 0)
			return s;
	return NULL;
}

struct share *sharing_by_number(struct cluster *c, uint8_t number)
{
	struct share *s;

	TAILQ_FOREACH (s, &c->sharing.shares, link)
		if (s->number == number)
			return s;
	return NULL;
}

void sharing_leave(struct cluster *c, struct umbel_worker *w, const char *key)
{
	struct share *s = find_by_key(c, key);
	int seat = s ? seat_of(s, w) : -1;

	if (seat < 0)
		return;
	seat_remove(s, (unsigned)seat);
	if (s->seat_count == 0)
		share_close(s); /* as in Node: the last server.close() ends the listener */
}

void sharing_leave_all(struct cluster *c, struct umbel_worker *w)
{
	struct share *s, *next;

	for (s = TAILQ_FIRST(&c->sharing.shares); s; s = next) {
		int seat = seat_of(s, w);

		next = TAILQ_NEXT(s, link);
		if (seat < 0)
			continue;
		seat_remove(s, (unsigned)seat);
		if (s->seat_count > 0)
			continue;
		if (!cluster_expects_workers(c)) {
			share_close(s);
			continue;
		}
		/* The kernel queues what comes until the successor listens. */
		listener_pause(&s->listener);
		share_set_waiting(s, true);
		uv_timer_start(&s->orphan, on_orphan, ORPHAN_MS, 0);
	}
}

/* ---- a worker's query ---- */

static char *make_key(const struct node_query *q)
{
	char *key = NULL;
	int n;

	/* Node's form from 22 on: the index distinguishes listen(0) only, so that an address can be
	 * listened on again after a close. */
	if (q->port == 0)
		n = asprintf(&key, "%s:0:%d:%d:%d", q->address ? q->address : "null", q->family,
			     q->flags, q->index);
	else
		n = asprintf(&key, "%s:%d:%d:%d", q->address ? q->address : "null", q->port, q->family,
			     q->flags);
	return n < 0 ? NULL : key;
}

static int query_address(const struct node_query *q, struct address *ret)
{
	memset(ret, 0, sizeof(*ret));
	switch (q->family) {
	case NODE_TCP4:
	case NODE_TCP6:
		if (q->port < 0)
			return -EINVAL;
		ret->kind = ADDRESS_TCP;
		ret->port = q->port;
		ret->family = q->family == NODE_TCP4 ? AF_INET : AF_INET6;
		if (!q->address)
			ret->family = AF_UNSPEC;
		else if (strlen(q->address) >= sizeof(ret->host))
			return -EINVAL;
		else
			strcpy(ret->host, q->address);
		return 0;
	case NODE_PIPE:
		ret->kind = ADDRESS_UNIX;
		ret->family = AF_UNIX;
		if (!q->address || q->address[0] != '/' || strlen(q->address) >= sizeof(ret->path))
			return -EINVAL;
		strcpy(ret->path, q->address);
		return 0;
	case NODE_FD: /* descriptors of the primary are not for workers */
		return -EINVAL;
	default:
		return -EOPNOTSUPP;
	}
}

static struct share *share_new(struct cluster *c, char *key, const struct json_t *data)
{
	struct share *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->cluster = c;
	s->key = key;
	s->key_json = node_encode_string(key);
	s->address = malloc(ADDRESS_TEXT_MAX);
	s->data = json_incref((json_t *)data);
	s->orphan.data = s;
	if (s->key_json && s->address)
		return s;
	s->key = NULL; /* still the caller's */
	share_free(s);
	return NULL;
}

/* Binds. Takes the key on success. */
static int share_open(struct cluster *c, char *key, const struct node_message *m, struct share **ret)
{
	struct address address;
	struct share *s;
	int err = query_address(&m->query, &address);

	if (err)
		return err;
	s = share_new(c, key, m->data);
	if (!s)
		return -ENOMEM;
	err = listener_open(&s->listener, &c->loop, &address, m->query.flags & NODE_FLAG_IPV6ONLY,
			    m->query.backlog, on_ready);
	if (err) {
		s->key = NULL;
		share_free(s);
		return err;
	}
	uv_timer_init(&c->loop, &s->orphan);
	s->open_handles = 2;
	s->number = number_take(&c->sharing);
	address_format(&s->listener.address, s->address, ADDRESS_TEXT_MAX);
	TAILQ_INSERT_TAIL(&c->sharing.shares, s, link);
	*ret = s;
	return 0;
}

static void send_reply(struct umbel_worker *w, const struct node_message *m, const char *key,
		       const struct share *s, int error)
{
	struct node_sockname name = {NULL, false, 0};
	int lane = -1;

	if (s) {
		const struct address *a = &s->listener.address;

		name.host = a->kind == ADDRESS_TCP ? a->host : NULL;
		name.ipv6 = a->family == AF_INET6;
		name.port = a->port;
		lane = worker_has_lane(w) ? s->number : -1;
	}
	worker_reply(w, node_encode_listen_reply(m->seq, key, error, s ? s->data : m->data, &name, lane,
						 w->seq++));
}

static void tell_failure(struct cluster *c, struct umbel_worker *w, const struct node_query *q, int error)
{
	char address[ADDRESS_TEXT_MAX] = "?", why[ADDRESS_TEXT_MAX + 128];
	struct address a;

	if (query_address(q, &a) == 0)
		address_format(&a, address, sizeof(address));
	else if (q->family == NODE_FD)
		snprintf(address, sizeof(address), "descriptor %d", q->fd);
	else if (q->family == NODE_UDP4 || q->family == NODE_UDP6)
		snprintf(address, sizeof(address), "udp port %d", q->port);
	snprintf(why, sizeof(why), "cannot listen on %s: %s", address, strerror(-error));
	events_add_failed(c->events, w, error, why);
}

static int find_or_open(struct cluster *c, struct umbel_worker *w, char *key,
			const struct node_message *m, struct share **ret)
{
	struct share *s = find_by_key(c, key);
	int err;

	if (s && seat_of(s, w) >= 0)
		return -EADDRINUSE; /* the same worker, the same address, twice */
	if (s) {
		free(key);
		if (json_is_null(s->data) && m->data) {
			json_decref(s->data);
			s->data = json_incref(m->data);
		}
	} else {
		err = share_open(c, key, m, &s);
		if (err)
			return err;
	}
	*ret = s;
	return 0;
}

int sharing_query(struct cluster *c, struct umbel_worker *w, const struct node_message *m)
{
	char *key = make_key(&m->query);
	struct share *s = NULL;
	int err = key ? find_or_open(c, w, key, m, &s) : -ENOMEM;

	if (!err && seat_add(s, w) < 0)
		err = -ENOMEM;
	if (err) {
		send_reply(w, m, s ? s->key : key ? key : "", NULL, err);
		tell_failure(c, w, &m->query, err);
		if (!s)
			free(key);
		return err;
	}
	send_reply(w, m, s->key, s, 0);
	if (s->waiting)
		share_dispatch(s);
	return 0;
}

struct share *sharing_find_listening(struct cluster *c, const struct umbel_worker *w,
				     const struct node_query *q)
{
	struct share *s;

	TAILQ_FOREACH (s, &c->sharing.shares, link) {
		const struct address *a = &s->listener.address;

		if (seat_of(s, w) < 0)
			continue;
		if (q->family == NODE_PIPE ? a->kind == ADDRESS_UNIX && q->address &&
						 strcmp(a->path, q->address) == 0
					   : a->kind == ADDRESS_TCP && a->port == q->port)
			return s;
	}
	return NULL;
}

/* ---- the whole ---- */

int sharing_open(struct cluster *c)
{
	struct sharing *sharing = &c->sharing;
	int err;

	TAILQ_INIT(&sharing->shares);
	sharing->lanes = epoll_create1(EPOLL_CLOEXEC);
	if (sharing->lanes < 0)
		return -errno;
	err = uv_poll_init(&c->loop, &sharing->lanes_poll, sharing->lanes);
	if (err)
		fd_close(&sharing->lanes);
	sharing->lanes_poll.data = c;
	return err;
}

void sharing_close(struct cluster *c)
{
	struct share *s;

	while ((s = TAILQ_FIRST(&c->sharing.shares)))
		share_close(s);
	uv_close((uv_handle_t *)&c->sharing.lanes_poll, NULL);
	fd_close(&c->sharing.lanes);
}
