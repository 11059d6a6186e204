#include "primary/sharing.h"

#include "base/fd.h"
#include "primary/cluster.h"
#include "primary/dialogue.h"
#include "primary/handoff.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* ---- room in the lanes ---- */

enum {
	DEAD_MS = 5000,   /* a listener waits so long for the successor of its last worker, and on while
			   * somebody is on the way */
	CLOSED_MS = 1000, /* and so long after a server.close() */
	MAX_SEATS = 64,   /* addresses that one worker may serve */
	MAX_DATA = 65536, /* bytes of `data`, which goes to every worker of the address */
};

static void on_lanes(uv_poll_t *poll, int status, int events)
{
	struct cluster *c = poll->data;
	struct epoll_event ignored[16];

	/* Edge-triggered: looking at them is what silences them until the next read. */
	while (epoll_wait(c->sharing.lanes, ignored, 16, 0) == 16)
		;
	sharing_resume(c);
}

void sharing_watch_lanes(struct cluster *c)
{
	struct sharing *sharing = &c->sharing;
	bool watch = sharing->waiting > 0;

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

void sharing_resume(struct cluster *c)
{
	struct share *s;

	if (c->sharing.waiting == 0 && !c->sharing.lanes_watched)
		return;
	TAILQ_FOREACH (s, &c->sharing.shares, link)
		if (s->waiting)
			share_dispatch(s);
	sharing_watch_lanes(c);
}

/* ---- joining and leaving ---- */

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
	int seat = s ? share_seat_of(s, w) : -1;

	if (seat < 0)
		return;
	share_remove(s, (unsigned)seat);
	if (s->seat_count > 0)
		return;
	/* As in Node the last server.close() ends the listener. But if that was the first step of
	 * leaving, its successor is on the way. */
	if (cluster_expects_workers(c))
		share_wait_for_successor(s, CLOSED_MS);
	else
		share_close(s);
}

void sharing_leave_all(struct cluster *c, struct umbel_worker *w)
{
	struct share *s, *next;

	for (s = TAILQ_FIRST(&c->sharing.shares); s; s = next) {
		int seat = share_seat_of(s, w);

		next = TAILQ_NEXT(s, link);
		if (seat < 0)
			continue;
		share_remove(s, (unsigned)seat);
		if (s->seat_count > 0)
			continue;
		if (!cluster_expects_workers(c)) {
			share_close(s);
			continue;
		}
		share_wait_for_successor(s, DEAD_MS);
	}
}

void sharing_close_orphans(struct cluster *c)
{
	struct share *s, *next;

	for (s = TAILQ_FIRST(&c->sharing.shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->seat_count == 0)
			share_close(s);
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
		lane = handoff_has_lane(w) ? s->number : -1;
	}
	dialogue_reply(w, node_encode_listen_reply(m->seq, key, error,
						 s ? s->data : error == -EMSGSIZE ? NULL : m->data, &name, lane,
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

static unsigned count_seats(struct cluster *c, const struct umbel_worker *w)
{
	struct share *s;
	unsigned count = 0;

	TAILQ_FOREACH (s, &c->sharing.shares, link)
		count += share_seat_of(s, w) >= 0;
	return count;
}

static int first_unprivileged_port(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
	int port = 1024;

	if (f) {
		if (fscanf(f, "%d", &port) != 1)
			port = 1024;
		fclose(f);
	}
	return port;
}

/* What we do for a worker of another user it could do itself. */
static int may_listen(const struct umbel_worker *w, const struct node_query *q)
{
	if (!w->is_other_user)
		return 0;
	if (q->family == NODE_PIPE || (q->port > 0 && q->port < first_unprivileged_port()))
		return -EACCES;
	return 0;
}

static int find_or_open(struct cluster *c, struct umbel_worker *w, char *key,
			const struct node_message *m, struct share **ret)
{
	struct share *s = find_by_key(c, key);
	struct address address;
	int err;

	if (s && share_seat_of(s, w) >= 0)
		return -EADDRINUSE; /* the same worker, the same address, twice */
	if (count_seats(c, w) >= MAX_SEATS)
		return -EMFILE;
	if (m->data && json_dumpb(m->data, NULL, 0, JSON_ENCODE_ANY) > MAX_DATA)
		return -EMSGSIZE;
	err = may_listen(w, &m->query);
	if (err)
		return err;
	if (s) {
		free(key);
		if (json_is_null(s->data) && m->data) {
			json_decref(s->data);
			s->data = json_incref(m->data);
		}
	} else {
		err = query_address(&m->query, &address);
		if (!err)
			err = share_open(c, key, &address, m->query.flags & NODE_FLAG_IPV6ONLY,
					 m->query.backlog, m->data, &s);
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

	if (!err && share_add(s, w) < 0)
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
	char *key = make_key(q);
	struct share *s = key ? find_by_key(c, key) : NULL;

	free(key);
	if (s && share_seat_of(s, w) >= 0)
		return s;
	/* It asked for port 0, and now says which it got. */
	TAILQ_FOREACH (s, &c->sharing.shares, link) {
		const struct address *a = &s->listener.address;

		if (share_seat_of(s, w) < 0)
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
