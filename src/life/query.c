#include "life/query.h"

#include "base/fd.h"
#include "life/activation.h"
#include "life/crew.h"
#include "life/dialogue.h"
#include "program/named.h"
#include "program/settings.h"
#include "share/counting.h"
#include "share/handoff.h"
#include "share/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	MAX_SEATS = 64,   /* addresses that one worker may serve; sockets on their way to it */
	MAX_DATA = 65536, /* bytes of `data`, which goes to every worker of the address */
};

static bool is_udp(const struct node_query *q)
{
	return q->family == NODE_UDP4 || q->family == NODE_UDP6;
}

/* Node's, which is from 22 on: the index distinguishes listen(0) only, so that an address can be listened
 * on again after a close. */
static char *make_key(const struct node_query *q)
{
	const char *address = q->address ? q->address : "null";
	char *key = NULL;
	int n;

	if (q->fd >= 0)
		n = asprintf(&key, "fd:%d:%d", q->fd, q->family);
	else if (q->port > 0 || q->family == NODE_PIPE)
		n = asprintf(&key, "%s%s:%d:%d:%d", q->is_abstract ? "@" : "", address, q->port, q->family,
			     q->flags);
	else
		n = asprintf(&key, "%s:0:%d:%d:%d", address, q->family, q->flags, q->index);
	return n < 0 ? NULL : key;
}

/* ---- what is asked for ---- */

static int inet_address(const struct node_query *q, struct address *ret)
{
	bool is_four = q->family == NODE_TCP4 || q->family == NODE_UDP4;

	/* Node's UDP sockets need not name a port; its TCP servers do. */
	if (q->port < 0 && !is_udp(q))
		return -EINVAL;
	ret->kind = is_udp(q) ? ADDRESS_UDP : ADDRESS_TCP;
	ret->port = q->port > 0 ? q->port : 0;
	ret->family = is_four ? AF_INET : AF_INET6;
	if (!q->address)
		ret->family = AF_UNSPEC;
	else if (strlen(q->address) >= sizeof(ret->host))
		return -EINVAL;
	else
		strcpy(ret->host, q->address);
	return 0;
}

static int unix_address(const struct node_query *q, struct address *ret)
{
	int n;

	ret->kind = ADDRESS_UNIX;
	ret->family = AF_UNIX;
	if (!q->address || (!q->is_abstract && q->address[0] != '/'))
		return -EINVAL;
	n = snprintf(ret->path, sizeof(ret->path), "%s%s", q->is_abstract ? "@" : "", q->address);
	return n < (int)sizeof(ret->path) ? 0 : -EINVAL;
}

static int query_address(const struct node_query *q, struct address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (q->is_bad)
		return -EINVAL;
	if (q->fd >= 0)
		return 0;
	switch (q->family) {
	case NODE_TCP4:
	case NODE_TCP6:
	case NODE_UDP4:
	case NODE_UDP6:
		return inet_address(q, ret);
	case NODE_PIPE:
		return unix_address(q, ret);
	default:
		return -EINVAL;
	}
}

/* Of the primary's descriptors only those are for workers that the operator names. */
static bool is_passed(const struct crew *crew, int fd)
{
	for (const int *passed = crew->settings->pass_fds; passed && *passed >= 0; passed++)
		if (*passed == fd)
			return true;
	return false;
}

static int make_wish(const struct umbel_worker *w, const struct node_query *q, struct socket_wish *ret)
{
	const char *why;
	int err;

	static const mode_t readable = S_IRUSR | S_IRGRP | S_IROTH, writable = S_IWUSR | S_IWGRP | S_IWOTH;

	*ret = (struct socket_wish){
	    .fd = q->fd,
	    .datagrams = is_udp(q),
	    .ipv6_only = q->flags & NODE_FLAG_IPV6ONLY,
	    .reuse_address = q->flags & NODE_FLAG_REUSEADDR,
	    .is_padded = w->node_major > 0 && w->node_major < 22, /* its libuv knows no other */
	    .more_mode = (q->readable_all ? readable : 0) | (q->writable_all ? writable : 0),
	    .backlog = q->backlog,
	};
	if (q->fd >= 0 && !is_passed(w->crew, q->fd))
		return -EINVAL; /* as Node of a descriptor that it cannot use */
	err = query_address(q, &ret->address);
	if (!err && q->options && address_parse_options(q->options, &ret->address, &why) < 0)
		err = -EINVAL;
	if (!err)
		named_apply(w->is_other_user, w->crew->settings, &ret->address);
	return err;
}

/* ---- whether it may ---- */

static unsigned count_seats(struct crew *crew, const struct umbel_worker *w)
{
	struct share *s;
	unsigned count = 0;

	TAILQ_FOREACH (s, &crew->sharing.shares, link)
		count += share_seat_of(s, &w->receiver) >= 0;
	return count;
}

/* What we do for a worker of another user it could do itself. */
static int may_listen(const struct umbel_worker *w, const struct node_query *q)
{
	struct address a, named;

	if (!w->is_other_user || q->fd >= 0)
		return 0;
	if (query_address(q, &a) == 0 && named_find(w->crew->settings->listen, &a, &named))
		return 0;
	if (q->family == NODE_PIPE && !q->is_abstract)
		return -EACCES;
	return q->port > 0 && q->port < socket_first_unprivileged_port() ? -EACCES : 0;
}

/* ---- whose socket answers it ---- */

/* Datagrams to many come to every socket of a group, and SO_REUSEADDR says that others share the port. */
static bool is_for_one_socket(const struct address *a, const struct node_query *q)
{
	return q->flags & NODE_FLAG_REUSEADDR || address_is_multicast(a);
}

static int open_new(const struct umbel_worker *w, char *key, const struct socket_wish *wish,
		    const struct node_message *m, struct share **ret)
{
	struct crew *crew = w->crew;
	bool udp = is_udp(&m->query), is_single = m->query.fd >= 0 || (udp && is_for_one_socket(&wish->address, &m->query));
	enum share_form form = sharing_form(&crew->sharing, &wish->address, is_single, !udp);
	enum umbel_policy app = settings_policy(crew->settings), policy;
	const char *why;
	int err;

	policy = policy_for(app, udp ? ADDRESS_UDP : wish->address.kind, form);
	err = sharing_add(&crew->sharing, key, wish, form, policy, m->data, ret);
	if (err)
		return err;
	if (policy != app && !wish->address.options.shared && crew->settings->policy != UMBEL_AUTO &&
	    !policy_is_possible(app, (*ret)->listener.address.kind, (*ret)->form, &why))
		events_add_note(crew->events, 0, "policy", "%s has %s, not %s: %s", (*ret)->address,
				policy_name(policy), policy_name(app), why);
	if (crew->settings->max_connections && !w->receiver.is_libumbel && wish->address.kind == ADDRESS_UNIX)
		events_add_note(crew->events, 0, "accept", "%s: connections of programs other than libumbel's to unix "
				"sockets are not counted, max_connections does not hold for them", (*ret)->address);
	if (share_accepts(*ret)) {
		(*ret)->chooser = crew->sharing.chooser;
		(*ret)->chooser_data = crew->sharing.chooser_data;
	}
	return 0;
}

/* The same worker asks for the same again. With SO_REUSEADDR it gets a second socket. */
static int make_second_key(const struct umbel_worker *w, const struct node_query *q, char **key)
{
	char *second;

	if (!is_udp(q) || !(q->flags & NODE_FLAG_REUSEADDR) || q->fd >= 0)
		return -EADDRINUSE;
	if (asprintf(&second, "%s:%u:%u", *key, w->receiver.id, w->receiver.seq) < 0)
		return -ENOMEM;
	free(*key);
	*key = second;
	return 0;
}

static int may_have(struct crew *crew, struct umbel_worker *w, const struct node_message *m)
{
	if (m->query.is_bad || m->seq < 0) /* nobody waits for an answer without a number */
		return -EINVAL;
	if (count_seats(crew, w) >= MAX_SEATS || handoff_lent_count(&w->receiver) >= MAX_SEATS)
		return -EMFILE;
	if (m->data && json_dumpb(m->data, NULL, 0, JSON_ENCODE_ANY) > MAX_DATA)
		return -EMSGSIZE;
	return may_listen(w, &m->query);
}

static void take_data(struct share *s, json_t *data)
{
	if (!json_is_null(s->data) || !data)
		return;
	json_decref(s->data);
	s->data = json_incref(data);
}

/* The generation before was a program that opened it itself. It stays steered. */
static struct share *find_of_programs(struct crew *crew, const struct socket_wish *wish)
{
	struct share *s;

	TAILQ_FOREACH (s, &crew->sharing.shares, link)
		if (s->was_own && s->wish.ipv6_only == wish->ipv6_only &&
		    named_is(&wish->address, &s->listener.address))
			return s;
	return NULL;
}

/* `key` is taken when a share is opened with it, and is NULL then. */
static int find_or_open(struct crew *crew, struct umbel_worker *w, char **key, const struct node_message *m,
			struct share **ret)
{
	struct share *s = sharing_find(&crew->sharing, *key);
	struct socket_wish wish;
	int err = may_have(crew, w, m);

	if (s && m->query.port == 0 && s->closed_by == w->receiver.id) {
		share_close(s); /* any port was asked for before, and is again: another one, as in Node */
		s = NULL;
	}
	if (!err && s && share_seat_of(s, &w->receiver) >= 0) {
		err = make_second_key(w, &m->query, key);
		s = NULL;
	}
	if (err)
		return err;
	if (s) {
		take_data(s, m->data);
		*ret = s;
		return 0;
	}
	err = make_wish(w, &m->query, &wish);
	if (!err && m->query.fd < 0 && (s = activation_claim(w, &wish, *key))) {
		take_data(s, m->data);
		*ret = s;
		return 0;
	}
	if (!err)
		err = open_new(w, *key, &wish, m, ret);
	if (err == -EADDRINUSE && m->query.fd < 0 && (s = find_of_programs(crew, &wish))) {
		*ret = s;
		return 0;
	}
	if (!err)
		*key = NULL;
	return err;
}

/* ---- the reply ---- */

static void send_error(struct umbel_worker *w, const struct node_message *m, const char *key, int error)
{
	/* As Node's programs know it: libuv says so since it had to look alike on Windows. */
	if (error == -ENOENT && w->kind == KIND_NODE && m->query.family == NODE_PIPE)
		error = -EACCES;
	receiver_reply(&w->receiver,
		       node_encode_listen_reply(m->seq, key, error, error == -EMSGSIZE ? NULL : m->data, NULL, -1,
						w->receiver.seq++));
}

static void send_reply(struct umbel_worker *w, const struct node_message *m, const struct share *s)
{
	const struct address *a = &s->listener.address;
	struct node_sockname name = {a->kind == ADDRESS_TCP ? a->host : NULL, a->family == AF_INET6, a->port};
	int lane = handoff_has_lane(&w->receiver) ? s->number : -1;

	receiver_reply(&w->receiver,
		       node_encode_listen_reply(m->seq, s->key, 0, s->data, &name, lane, w->receiver.seq++));
}

static int send_socket(struct umbel_worker *w, const struct node_message *m, struct share *s, int from)
{
	int fd = fcntl(from, F_DUPFD_CLOEXEC, 0), lane = handoff_has_lane(&w->receiver) ? s->number : -1;
	bool udp = s->listener.address.kind == ADDRESS_UDP;
	char *text = fd < 0 ? NULL : node_encode_lent_reply(m->seq, s->key, udp, s->data, lane, w->receiver.seq);
	struct handoff *h = text ? handoff_add(&w->receiver) : NULL;
	int err = fd < 0 ? -errno : h ? 0 : -ENOMEM;

	if (!err && h) {
		w->receiver.seq++;
		h->fd = fd;
		h->share = s;
		h->query = m->seq;
		receiver_send(&w->receiver, text, strlen(text), fd, CHANNEL_LEND_FD);
	} else {
		fd_close(&fd);
	}
	free(text);
	return err;
}

/* A worker that speaks our wire and is neither Node nor libumbel's need not know about sockets. */
static bool takes_side(const struct umbel_worker *w, const struct share *s)
{
	return s->form == SHARE_GROUP && w->receiver.slot <= UMBEL_STEERED_SLOTS_MAX &&
	       (!share_accepts(s) || w->receiver.is_libumbel || w->kind == KIND_NODE);
}

static bool takes_socket(const struct umbel_worker *w, const struct share *s)
{
	return s->form == SHARE_LENT || takes_side(w, s);
}

static int answer(struct umbel_worker *w, const struct node_message *m, struct share *s)
{
	struct side *side = NULL;
	int err = 0;

	if (s->form == SHARE_LENT)
		return send_socket(w, m, s, s->listener.fd);
	if (takes_side(w, s)) {
		err = sides_take(s, &w->receiver, m->query.accepts, &side);
		if (!err)
			return send_socket(w, m, s, side->listener.fd);
	}
	if (!share_accepts(s))
		return err ? err : -ENOTSUP;
	send_reply(w, m, s); /* what is handed over it can have */
	return 0;
}

void query_address_text(const struct node_query *q, int *ret_family, char *out, size_t size)
{
	struct address a;

	*ret_family = AF_UNSPEC;
	if (q->fd >= 0) {
		snprintf(out, size, "descriptor %d", q->fd);
	} else if (query_address(q, &a) == 0) {
		*ret_family = a.family;
		address_format(&a, out, size);
	} else {
		snprintf(out, size, "?");
	}
}

static void tell_failure(struct crew *crew, struct umbel_worker *w, const struct node_query *q, int error)
{
	char text[ADDRESS_TEXT_MAX], why[ADDRESS_TEXT_MAX + 192];
	struct address a;
	bool is_named = q->fd < 0 && query_address(q, &a) == 0;
	int family;

	query_address_text(q, &family, text, sizeof(text));
	snprintf(why, sizeof(why), "cannot listen on %s: %s%s", text,
		 q->fd >= 0 && !is_passed(crew, q->fd) ? "it was not passed on (--pass-fd, settings.pass_fds)"
						    : strerror(-error),
		 is_named ? busy_text(&crew->sharing.busy, crew->sharing.diag, &a, error) : "");
	events_add_failed(crew->events, w, error, why);
}

void query_answer(struct crew *crew, struct umbel_worker *w, const struct node_message *m)
{
	char *key = make_key(&m->query);
	struct share *s = NULL;
	int err = key ? find_or_open(crew, w, &key, m, &s) : -ENOMEM;

	if (!err && m->query.accepts && (policy_is_handed(s->policy) || s->chooser || !takes_socket(w, s)))
		err = -ENOTSUP; /* it would hear of no connection */
	if (!err)
		err = share_add(s, &w->receiver);
	if (!err)
		s->seats[s->seat_count - 1].accepts = s->accept_alone = m->query.accepts;
	if (!err)
		err = answer(w, m, s);
	if (err) {
		if (s && s->seat_count == 0)
			share_close(s);
		else if (s)
			sharing_leave(&w->receiver, s->key);
		send_error(w, m, key ? key : "", err);
		tell_failure(crew, w, &m->query, err);
	} else {
		counting_update(&w->receiver); /* this first: it counts what it is given from now on */
		if (s->waiting)
			share_dispatch(s);
	}
	free(key);
}

void query_nacked(struct umbel_worker *w, const struct share *s, int64_t seq)
{
	struct node_message m = {.seq = seq, .data = s->data};

	send_error(w, &m, s->key, -EMFILE);
	sharing_leave(&w->receiver, s->key);
}

/* ---- what it says once it listens ---- */

static bool is_of_family(const struct share *s, const struct node_query *q)
{
	const struct address *a = &s->listener.address;

	switch (a->kind) {
	case ADDRESS_UNIX:
		return q->family == NODE_PIPE && q->address &&
		       strcmp(a->path + q->is_abstract, q->address) == 0;
	case ADDRESS_UDP:
		return is_udp(q) && a->port == q->port;
	case ADDRESS_TCP:
		return (q->family == NODE_TCP4 || q->family == NODE_TCP6) && a->port == q->port;
	}
	return false;
}

struct share *query_find_listening(struct crew *crew, const struct umbel_worker *w, const struct node_query *q)
{
	char *key = make_key(q);
	struct share *s = key ? sharing_find(&crew->sharing, key) : NULL;

	free(key);
	if (s && share_seat_of(s, &w->receiver) >= 0)
		return s;
	/* It asked for port 0, and now says which it got. */
	TAILQ_FOREACH (s, &crew->sharing.shares, link)
		if (share_seat_of(s, &w->receiver) >= 0 && is_of_family(s, q))
			return s;
	return NULL;
}
