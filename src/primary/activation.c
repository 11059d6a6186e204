#include "primary/activation.h"

#include "base/fd.h"
#include "base/proc.h"
#include "net/trap.h"
#include "primary/closed.h"
#include "primary/cluster.h"
#include "primary/generation.h"
#include "primary/named.h"
#include "primary/own.h"
#include "primary/policy.h"
#include "primary/ready.h"
#include "primary/settings.h"
#include "primary/steering.h"
#include "primary/worker.h"
#include "wire/node.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	LOOK_MS = 50,
	UNASKED_MS = 1000, /* a listener that was offered, and declined, waits so long for somebody who asks for it */
};

/* ---- whether ---- */

/* Descriptors from 3 on are the sockets', so nothing else may be there but the channel, which goes behind them. */
static int descriptor_in_the_way(const struct umbel_settings *s)
{
	for (int i = ACTIVATION_FIRST; i < UMBEL_STDIO_MAX; i++)
		if (s->stdio[i] != UMBEL_STDIO_NONE && s->stdio[i] != UMBEL_STDIO_CHANNEL)
			return i;
	return -1;
}

static bool is_channel_behind(const struct umbel_settings *s)
{
	return settings_channel(s) >= ACTIVATION_FIRST;
}

int activation_check(const struct umbel_settings *s, enum kind kind, struct reason *reason)
{
	int taken = descriptor_in_the_way(s);
	unsigned count = 0;

	if (kind != KIND_LISTEN_FDS || !s->listen)
		return 0;
	while (s->listen[count])
		count++;
	if (count > ACTIVATION_MOST)
		return reason_set(reason, -EINVAL, "settings.listen has %u addresses: --share listen-fds gives at most %d",
				  count, ACTIVATION_MOST);
	if (taken >= 0 || !is_channel_behind(s))
		return reason_set(reason, -EINVAL, "settings.stdio: with --share listen-fds descriptors from %d on are the "
				  "sockets of settings.listen, and the channel is behind them", ACTIVATION_FIRST);
	return 0;
}

static bool wants_offer(const struct umbel_worker *w)
{
	const struct umbel_settings *s = &w->cluster->settings;

	if (!s->listen || w->slot->number == 0) /* a spare's slot is not known */
		return false;
	if (w->kind == KIND_LISTEN_FDS)
		return true;
	return w->kind == KIND_INTERCEPT && !w->generation->declines && descriptor_in_the_way(s) < 0 &&
	       is_channel_behind(s);
}

/* Udp that a program binds itself is not shared unless the operator wants it, and would find its port taken. */
static bool may_be_offered(const struct umbel_worker *w, const struct address *a)
{
	if (a->kind == ADDRESS_UNIX)
		return true;
	return a->port > 0 && (a->kind == ADDRESS_TCP || w->kind == KIND_LISTEN_FDS || w->cluster->settings.share_udp);
}

/* ---- its share ---- */

static struct share *find_share(struct cluster *c, const struct address *a)
{
	struct share *s;

	TAILQ_FOREACH (s, &c->sharing.shares, link)
		if (named_is(a, &s->listener.address) && (s->form == SHARE_GROUP || (s->form == SHARE_LENT && s->is_offered)))
			return s;
	return NULL;
}

static int open_share(struct umbel_worker *w, const struct address *a, struct share **ret)
{
	struct cluster *c = w->cluster;
	struct socket_wish wish = {.address = *a, .fd = -1, .datagrams = a->kind == ADDRESS_UDP};
	enum share_form form = SHARE_GROUP;
	char *key, text[ADDRESS_TEXT_MAX];
	int err;

	named_apply(w->is_other_user, &c->settings, &wish.address);
	if (a->kind == ADDRESS_UNIX || wish.address.options.shared || settings_policy(&c->settings) == UMBEL_SHARED ||
	    cluster_wanted(c) > UMBEL_STEERED_SLOTS_MAX)
		form = SHARE_LENT;
	if (asprintf(&key, "offered %s", address_format(a, text, sizeof(text))) < 0)
		return -ENOMEM;
	err = share_open(c, key, &wish, form, own_policy(c, form), json_null(), ret);
	if (err == -EADDRINUSE && sharing_close_closed(c, a))
		err = share_open(c, key, &wish, form, own_policy(c, form), json_null(), ret);
	if (err) {
		free(key);
		return err;
	}
	(*ret)->is_offered = (*ret)->accept_alone = true;
	if (form == SHARE_LENT) /* not again for the next worker: by then it is as the others want it, who share that flag */
		fd_set_nonblocking((*ret)->listener.fd, false);
	return 0;
}

static struct side *offered_side(const struct share *s, const struct umbel_worker *w)
{
	struct side *side;

	TAILQ_FOREACH (side, &s->sides.list, link)
		if (side->owner == w->id && side->is_offered)
			return side;
	return NULL;
}

static bool has_offer(const struct share *s, const struct umbel_worker *w)
{
	return w->offered > 0 && ((s->form == SHARE_LENT && s->is_offered) || offered_side(s, w));
}

static void unseat(struct share *s, const struct umbel_worker *w)
{
	int seat = share_seat_of(s, w);

	if (seat >= 0)
		share_remove(s, (unsigned)seat);
}

static bool is_served(const struct share *s)
{
	for (unsigned i = 0; i < s->seat_count; i++)
		if (s->seats[i].worker->state == UMBEL_STATE_READY)
			return true;
	return false;
}

static void seat(struct share *s, struct umbel_worker *w)
{
	if (policy_is_handed(s->policy)) /* it was another program's, which took what is handed over */
		s->policy = own_policy(s->cluster, s->form);
	s->accept_alone = true;
	if (own_seat(w, s) == 0)
		steering_update(s);
	closed_watch(s->cluster);
}

/* Programs expect sockets to block, as systemd's do. */
static int offer_share(struct share *s, struct umbel_worker *w, int *ret)
{
	struct side *side;
	int err;

	if (s->form == SHARE_LENT) {
		*ret = s->listener.fd;
		return 0;
	}
	err = sides_take(s, w, true, &side);
	if (err)
		return err;
	side->is_program = side->is_offered = true;
	steering_update(s);
	fd_set_nonblocking(side->listener.fd, false);
	*ret = side->listener.fd;
	return 0;
}

static void add_name(struct activation *a, const struct address *address)
{
	const char *last = strrchr(address->path, '/');
	char name[NAME_MAX + 1];
	size_t used = strlen(a->names);

	if (address->kind == ADDRESS_UNIX)
		snprintf(name, sizeof(name), "unix-%.240s", last ? last + 1 : address->path);
	else
		snprintf(name, sizeof(name), "%s-%d", address->kind == ADDRESS_TCP ? "tcp" : "udp", address->port);
	for (char *p = name; *p; p++)
		if (*p == ':' || *p < ' ' || *p > '~')
			*p = '_';
	snprintf(a->names + used, sizeof(a->names) - used, "%s%s", a->count ? ":" : "", name);
}

static bool is_in(const struct activation *a, int fd)
{
	for (unsigned i = 0; i < a->count; i++)
		if (a->sockets[i] == fd)
			return true;
	return false;
}

static int offer_address(struct umbel_worker *w, const struct address *address, struct activation *a)
{
	struct share *s = find_share(w->cluster, address);
	int fd = -1, err = s ? 0 : open_share(w, address, &s);

	err = err ? err : offer_share(s, w, &fd);
	if (err || is_in(a, fd))
		return err;
	if (!is_served(s)) /* what comes before anybody is ready waits for who will be */
		seat(s, w);
	add_name(a, address);
	a->sockets[a->count++] = fd;
	return 0;
}

/* It goes without, then; said once. */
static int tell_failure(struct umbel_worker *w, const char *address, int err)
{
	struct cluster *c = w->cluster;

	if (w->kind == KIND_LISTEN_FDS)
		return reason_set(c->reason, err, "cannot listen on %s: %s", address, strerror(-err));
	if (!w->generation->told_no_offer)
		cluster_note(c, 0, "share", "%s cannot be offered (LISTEN_FDS): %s", address, strerror(-err));
	w->generation->told_no_offer = true;
	return 0;
}

int activation_offer(struct umbel_worker *w, struct activation *ret)
{
	char *const *listen = w->cluster->settings.listen;
	struct address address;
	struct stat st;
	const char *why;
	int err = 0;

	*ret = (struct activation){.count = 0};
	if (!wants_offer(w))
		return 0;
	strcpy(ret->names, "LISTEN_FDNAMES=");
	w->offered = 1; /* it has sides from now on */
	for (; *listen && !err && ret->count < ACTIVATION_MOST; listen++) {
		if (address_parse(*listen, &address, &why) < 0 || !may_be_offered(w, &address))
			continue;
		err = offer_address(w, &address, ret);
		if (err)
			err = tell_failure(w, *listen, err);
	}
	w->offered = err ? w->offered : ret->count;
	if (err) {
		activation_withdraw(w);
		*ret = (struct activation){.count = 0};
		return err;
	}
	if (ret->count && fstat(ret->sockets[0], &st) == 0)
		w->offered_inode = st.st_ino;
	snprintf(ret->fds, sizeof(ret->fds), "LISTEN_FDS=%u", ret->count);
	return 0;
}

/* ---- what becomes of it ---- */

/* Nobody is left who would take what comes: those who ask for it are on their way, or it is over. */
static void wait_for_askers(struct share *s)
{
	struct umbel_worker *w;

	if (s->seat_count > 0 || !s->is_offered)
		return;
	TAILQ_FOREACH (w, &s->cluster->workers, link)
		if (has_offer(s, w))
			return;
	share_wait_for_successor(s, UNASKED_MS);
}

/* The socket is ours again, as any other side, though the worker has a copy that it does not use. */
static void take_back(struct share *s, struct side *side)
{
	side->is_program = side->is_offered = false;
	side->is_read_alone = s->listener.address.kind == ADDRESS_UDP;
	fd_set_nonblocking(side->listener.fd, true);
}

static void for_each_offer(struct umbel_worker *w, void (*f)(struct share *s, struct umbel_worker *w))
{
	struct share *s, *next;

	for (s = TAILQ_FIRST(&w->cluster->sharing.shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (has_offer(s, w))
			f(s, w);
	}
}

static void withdraw_one(struct share *s, struct umbel_worker *w)
{
	struct side *side = offered_side(s, w);

	unseat(s, w);
	if (side)
		sides_give_back(side);
	if (s->seat_count == 0 && s->is_offered && !sides_have_workers(s) && !cluster_expects_workers(s->cluster))
		share_close(s);
}

void activation_withdraw(struct umbel_worker *w)
{
	for_each_offer(w, withdraw_one);
	w->offered = 0;
}

void activation_begin(struct umbel_worker *w)
{
	if (w->offered > 0)
		worker_deadline(w, DEADLINE_OFFER, LOOK_MS);
}

/* Programs close them at an exec (sd_listen_fds(3)), watch them or make copies; nobody else has a reason to. */
static bool has_taken(const struct umbel_worker *w)
{
	struct trap_fd look;
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)w->pid, ACTIVATION_FIRST);
	return proc_has_executed(w->pid) && stat(path, &st) == 0 && st.st_ino == w->offered_inode &&
	       trap_look_at_fd(w->pid, ACTIVATION_FIRST, &look) == 0 &&
	       (look.cloexec || look.is_watched || look.copies > 1);
}

void activation_look(struct umbel_worker *w)
{
	if (w->offered == 0 || w->state != UMBEL_STATE_STARTING)
		return;
	if (!has_taken(w)) {
		worker_deadline(w, DEADLINE_OFFER, LOOK_MS);
		return;
	}
	if (w->kind == KIND_INTERCEPT)
		w->kind_why = "it took the sockets that it was offered (LISTEN_FDS)";
	ready_listens(w);
}

static void serve(struct share *s, struct umbel_worker *w)
{
	seat(s, w);
	sharing_tell_listening(s, w);
}

void activation_ready(struct umbel_worker *w)
{
	for_each_offer(w, serve);
}

/* ---- it goes another way ---- */

static void declines(struct umbel_worker *w)
{
	if (w->kind == KIND_INTERCEPT)
		w->generation->declines = true;
}

static void decline_one(struct share *s, struct umbel_worker *w)
{
	struct side *side = offered_side(s, w);

	unseat(s, w);
	if (side)
		take_back(s, side);
	steering_update(s);
}

void activation_decline(struct umbel_worker *w)
{
	struct share *s, *next;

	if (w->offered == 0)
		return;
	declines(w);
	for_each_offer(w, decline_one);
	w->offered = 0;
	for (s = TAILQ_FIRST(&w->cluster->sharing.shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		wait_for_askers(s);
	}
}

static int rename_share(struct share *s, const char *key)
{
	char *copy = strdup(key), *json = copy ? node_encode_string(copy) : NULL;

	if (!json) {
		free(copy);
		return -ENOMEM;
	}
	free(s->key);
	free(s->key_json);
	s->key = copy;
	s->key_json = json;
	return 0;
}

static bool is_same_port(const struct share *s, const struct address *a)
{
	const struct address *its = &s->listener.address;

	return its->kind == a->kind && its->port == a->port && strcmp(its->path, a->path) == 0;
}

/* Else it is opened anew, with what the worker wants. Of a path the primary is to accept, too. */
static bool is_as_wished(const struct share *s, const struct socket_wish *wish)
{
	char its[ADDRESS_OPTIONS_MAX], wanted[ADDRESS_OPTIONS_MAX];

	if (wish->address.kind == ADDRESS_UNIX && !address_is_abstract(&wish->address))
		return false;
	address_format_options(&s->wish.address.options, its, sizeof(its));
	address_format_options(&wish->address.options, wanted, sizeof(wanted));
	return named_is(&wish->address, &s->listener.address) && strcmp(its, wanted) == 0 &&
	       s->wish.ipv6_only == wish->ipv6_only && wish->backlog <= 0;
}

struct share *activation_claim(struct umbel_worker *w, const struct socket_wish *wish, const char *key)
{
	struct cluster *c = w->cluster;
	struct share *s, *next, *found = NULL;
	struct umbel_worker *other;

	for (s = TAILQ_FIRST(&c->sharing.shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (!s->is_offered || !is_same_port(s, &wish->address))
			continue;
		if (!found && is_as_wished(s, wish) && rename_share(s, key) == 0)
			found = s;
		else
			share_close(s);
	}
	if (!found)
		return NULL;
	TAILQ_FOREACH (other, &c->workers, link)
		if (has_offer(found, other))
			decline_one(found, other);
	found->is_offered = found->accept_alone = false;
	found->policy = policy_for(settings_policy(&c->settings), wish->address.kind, found->form);
	if (found->form == SHARE_LENT)
		fd_set_nonblocking(found->listener.fd, true);
	steering_update(found);
	return found;
}

/* It leaves when it is empty; the worker may have a copy. */
static void drop(struct share *s, struct umbel_worker *w)
{
	struct side *side = offered_side(s, w);

	unseat(s, w);
	if (side) {
		side->is_offered = false;
		side->was_left = true;
		sides_give_back(side);
	}
	steering_update(s);
}

static bool is_offer_of(struct cluster *c, const struct address *a)
{
	const struct share *s;

	TAILQ_FOREACH (s, &c->sharing.shares, link)
		if (is_same_port(s, a))
			return true;
	return false;
}

/* Who binds one of them itself takes none. */
void activation_yield(struct umbel_worker *w, const struct address *a, bool ipv6_only)
{
	struct cluster *c = w->cluster;
	struct share *s, *next, *same = a->kind == ADDRESS_UNIX ? NULL : sharing_find_address(c, a, ipv6_only);

	if (w->offered == 0 || !is_offer_of(c, a))
		return;
	declines(w);
	for_each_offer(w, drop);
	w->offered = 0;
	for (s = TAILQ_FIRST(&c->sharing.shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s == same)
			s->is_offered = false;
		else if (s->is_offered && is_same_port(s, a))
			share_close(s);
		else
			wait_for_askers(s);
	}
}
