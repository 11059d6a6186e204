/* What becomes of sockets that a program was offered: activation.h. */
#include "life/activation.h"

#include "base/fd.h"
#include "base/proc.h"
#include "life/crew.h"
#include "life/own.h"
#include "life/ready.h"
#include "life/worker.h"
#include "net/trap.h"
#include "program/generation.h"
#include "program/named.h"
#include "program/settings.h"
#include "share/closed.h"
#include "share/policy.h"
#include "share/steering.h"
#include "wire/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	LOOK_MS = 50,
	UNASKED_MS = 1000, /* a listener that was offered, and declined, waits so long for somebody who asks for it */
};

static struct side *offered_side(const struct share *s, const struct umbel_worker *w)
{
	struct side *side;

	TAILQ_FOREACH (side, &s->sides.list, link)
		if (side->owner == w->receiver.id && side->is_offered)
			return side;
	return NULL;
}

static bool has_offer(const struct share *s, const struct umbel_worker *w)
{
	return w->offered > 0 && ((s->form == SHARE_LENT && s->is_offered) || offered_side(s, w));
}

static void unseat(struct share *s, const struct umbel_worker *w)
{
	int seat = share_seat_of(s, &w->receiver);

	if (seat >= 0)
		share_remove(s, (unsigned)seat);
}

void activation_seat(struct share *s, struct umbel_worker *w)
{
	if (own_seat(w, s) == 0)
		steering_update(s);
	closed_watch(s->sharing);
}

/* ---- what becomes of it ---- */

/* Nobody is left who would take what comes: those who ask for it are on their way, or it is over. */
static void wait_for_askers(struct crew *crew, struct share *s)
{
	struct umbel_worker *w;

	if (s->seat_count > 0 || !s->is_offered)
		return;
	TAILQ_FOREACH (w, &crew->workers, link)
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

	for (s = TAILQ_FIRST(&w->crew->sharing.shares); s; s = next) {
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
	if (s->seat_count == 0 && s->is_offered && !sides_have_workers(s) && !sharing_expects_workers(&w->crew->sharing))
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

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)w->receiver.pid, ACTIVATION_FIRST);
	return proc_has_executed(w->receiver.pid) && stat(path, &st) == 0 && st.st_ino == w->offered_inode &&
	       trap_look_at_fd(w->receiver.pid, ACTIVATION_FIRST, &look) == 0 &&
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
	if (w->kind == KIND_INTERCEPT) {
		w->kind_why = "it took the sockets that it was offered (LISTEN_FDS)";
		w->crew->tells->cannot_be_held(w, "a program that takes the sockets that it is offered (LISTEN_FDS) "
						 "cannot be held before it listens");
	}
	ready_listens(w);
}

static void serve(struct share *s, struct umbel_worker *w)
{
	activation_seat(s, w);
	sharing_tell_listening(s, &w->receiver);
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
	for (s = TAILQ_FIRST(&w->crew->sharing.shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		wait_for_askers(w->crew, s);
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
	struct crew *crew = w->crew;
	struct share *s, *next, *found = NULL;
	struct umbel_worker *other;

	for (s = TAILQ_FIRST(&crew->sharing.shares); s; s = next) {
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
	TAILQ_FOREACH (other, &crew->workers, link)
		if (has_offer(found, other))
			decline_one(found, other);
	found->is_offered = found->accept_alone = false;
	found->policy = policy_for(settings_policy(crew->settings), wish->address.kind, found->form);
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

static bool is_offer_of(struct crew *crew, const struct address *a)
{
	const struct share *s;

	TAILQ_FOREACH (s, &crew->sharing.shares, link)
		if (is_same_port(s, a))
			return true;
	return false;
}

/* Who binds one of them itself takes none. */
void activation_yield(struct umbel_worker *w, const struct address *a, bool ipv6_only)
{
	struct crew *crew = w->crew;
	struct share *s, *next, *same = NULL;

	if (w->offered == 0 || !is_offer_of(crew, a))
		return;
	if (a->kind != ADDRESS_UNIX)
		same = sharing_find_address(&crew->sharing, a, ipv6_only);
	declines(w);
	for_each_offer(w, drop);
	w->offered = 0;
	for (s = TAILQ_FIRST(&crew->sharing.shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s == same)
			s->is_offered = false;
		else if (s->is_offered && is_same_port(s, a))
			share_close(s);
		else
			wait_for_askers(crew, s);
	}
}
