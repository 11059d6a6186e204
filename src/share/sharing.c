#include "share/sharing.h"

#include "base/fd.h"
#include "program/settings.h"
#include "share/closed.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

/* ---- room in the lanes ---- */

enum {
	ROOM_MS = 10,     /* until it is looked again whether a worker that has no descriptors left has some */
	DEAD_MS = 5000,   /* a listener waits so long for the successor of its last worker, and on while
			   * somebody is on the way */
	CLOSED_MS = 1000, /* and so long after a server.close() */
	MAX_CLOSED = 16,  /* so many of those */
};

static void on_lanes(uv_poll_t *poll, int status, int events)
{
	struct sharing *sharing = poll->data;
	struct epoll_event ignored[16];

	/* Edge-triggered: looking at them is what silences them until the next read. */
	while (epoll_wait(sharing->lanes, ignored, 16, 0) == 16)
		;
	sharing_resume(sharing);
}

void sharing_watch_lanes(struct sharing *sharing)
{
	bool watch = sharing->waiting > 0;

	if (watch == sharing->lanes_watched)
		return;
	sharing->lanes_watched = watch;
	if (watch)
		uv_poll_start(&sharing->lanes_poll, UV_READABLE, on_lanes);
	else
		uv_poll_stop(&sharing->lanes_poll);
}

int sharing_watch_lane(struct sharing *sharing, int primary_end)
{
	struct epoll_event event = {.events = EPOLLOUT | EPOLLET};

	return epoll_ctl(sharing->lanes, EPOLL_CTL_ADD, primary_end, &event) < 0 ? -errno : 0;
}

static void on_room(uv_timer_t *timer)
{
	sharing_resume(timer->data);
}

void sharing_resume_soon(struct sharing *sharing)
{
	if (uv_is_active((uv_handle_t *)&sharing->room))
		return;
	uv_update_time(sharing->loop); /* the last turn may be long ago */
	uv_timer_start(&sharing->room, on_room, ROOM_MS, 0);
}

void sharing_resume(struct sharing *sharing)
{
	struct share *s;

	if (sharing->waiting == 0 && !sharing->lanes_watched)
		return;
	TAILQ_FOREACH (s, &sharing->shares, link)
		if (s->waiting && !s->refused) /* a lane that refuses looks at once as if it had room */
			share_dispatch(s);
	sharing_watch_lanes(sharing);
}

/* ---- who is there, who comes ---- */

struct receiver *sharing_find_receiver(struct sharing *sharing, uint32_t id)
{
	struct receiver *r;

	TAILQ_FOREACH (r, &sharing->receivers, link)
		if (r->id == id)
			return r;
	return NULL;
}

bool sharing_expects_workers(const struct sharing *sharing)
{
	return sharing->asks->expects_workers(sharing->cluster);
}

int sharing_wanted(const struct sharing *sharing)
{
	return sharing->asks->wanted(sharing->cluster);
}

bool sharing_wants_slot(const struct sharing *sharing, int slot)
{
	return sharing->asks->is_slot_wanted(sharing->cluster, slot);
}

bool sharing_boots_slot(const struct sharing *sharing, int slot)
{
	return sharing->asks->is_slot_booting(sharing->cluster, slot);
}

/* ---- a new address ---- */

enum share_form sharing_form(const struct sharing *sharing, const struct address *a, bool is_single, bool is_handed)
{
	if (settings_policy(sharing->settings) == UMBEL_SHARED || a->options.shared)
		return SHARE_LENT;
	if (!is_single && a->kind != ADDRESS_UNIX && sharing_wanted(sharing) <= UMBEL_STEERED_SLOTS_MAX)
		return SHARE_GROUP;
	return is_handed ? SHARE_PLAIN : SHARE_LENT;
}

/* Those of that port that a program has closed, and that only wait for a successor of it, are given up. False: there
 * were none. */
static bool close_closed(struct sharing *sharing, const struct address *a)
{
	struct share *s, *next;
	bool any = false;

	for (s = TAILQ_FIRST(&sharing->shares); s; s = next) {
		const struct address *its = &s->listener.address;

		next = TAILQ_NEXT(s, link);
		if (!s->closed_by || its->kind != a->kind || its->port != a->port ||
		    strcmp(its->path, a->path) != 0)
			continue;
		share_close(s);
		any = true;
	}
	return any;
}

int sharing_add(struct sharing *sharing, char *key, const struct socket_wish *wish, enum share_form form,
		enum umbel_policy policy, struct json_t *data, struct share **ret)
{
	int err = share_open(sharing, key, wish, form, policy, data, ret);

	if (err == -EADDRINUSE && close_closed(sharing, &wish->address))
		err = share_open(sharing, key, wish, form, policy, data, ret);
	return err;
}

/* ---- joining and leaving ---- */

struct share *sharing_find(struct sharing *sharing, const char *key)
{
	struct share *s;

	TAILQ_FOREACH (s, &sharing->shares, link)
		if (strcmp(s->key, key) == 0)
			return s;
	return NULL;
}

struct share *sharing_find_address(struct sharing *sharing, const struct address *a, bool ipv6_only)
{
	struct share *s;

	TAILQ_FOREACH (s, &sharing->shares, link) {
		const struct address *its = &s->listener.address;
		bool only = s->wish.ipv6_only || s->wish.address.options.ipv6_only;

		if (its->kind == a->kind && its->family == a->family && its->port == a->port &&
		    strcmp(its->host, a->host) == 0 && strcmp(its->path, a->path) == 0 &&
		    (a->family != AF_INET6 || only == ipv6_only))
			return s;
	}
	return NULL;
}

struct share *sharing_by_number(struct sharing *sharing, uint8_t number)
{
	struct share *s;

	TAILQ_FOREACH (s, &sharing->shares, link)
		if (s->number == number)
			return s;
	return NULL;
}

/* A program may open and close ports all the time. */
static void keep_few_closed(struct sharing *sharing)
{
	struct share *s, *oldest = NULL;
	unsigned closed = 0;

	TAILQ_FOREACH (s, &sharing->shares, link) {
		if (!s->closed_by)
			continue;
		closed++;
		if (!oldest)
			oldest = s;
	}
	if (closed > MAX_CLOSED)
		share_close(oldest);
}

/* The share may be closed then. */
static void leave(struct receiver *r, struct share *s)
{
	struct sharing *sharing = s->sharing;
	int seat = share_seat_of(s, r);

	if (seat < 0)
		return;
	share_remove(s, (unsigned)seat);
	if (s->seat_count > 0)
		return;
	/* As in Node the last server.close() ends the listener. But if that was the first step of
	 * leaving, its successor is on the way. */
	s->closed_by = r->id;
	if (!sharing->asks->expects_another(sharing->cluster, r->worker)) {
		share_close(s);
		return;
	}
	share_wait_for_successor(s, CLOSED_MS);
	keep_few_closed(sharing);
}

void sharing_leave(struct receiver *r, const char *key)
{
	struct share *s = sharing_find(r->sharing, key);

	if (s)
		leave(r, s);
}

void sharing_lost_socket(struct share *s, uint32_t owner)
{
	struct receiver *r = sharing_find_receiver(s->sharing, owner);

	if (r && !sides_has_listening(s, r))
		leave(r, s);
}

void sharing_leave_all(struct receiver *r)
{
	struct share *s, *next;

	for (s = TAILQ_FIRST(&r->sharing->shares); s; s = next) {
		int seat = share_seat_of(s, r);

		next = TAILQ_NEXT(s, link);
		if (seat < 0)
			continue;
		share_remove(s, (unsigned)seat);
		if (s->seat_count > 0 && s->waiting && s->accept_alone)
			share_dispatch(s); /* who is left takes nothing that is handed over: who waits for that sees an end */
		if (s->seat_count > 0)
			continue;
		if (!sharing_expects_workers(r->sharing) && !sides_have_workers(s)) {
			share_close(s);
			continue;
		}
		share_wait_for_successor(s, DEAD_MS);
	}
}

void sharing_close_orphans(struct sharing *sharing)
{
	struct share *s, *next;

	for (s = TAILQ_FIRST(&sharing->shares); s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->seat_count == 0 && !sides_have_workers(s))
			share_close(s);
	}
}

/* ---- sides ---- */

void sharing_trim(struct sharing *sharing)
{
	struct share *s;

	TAILQ_FOREACH (s, &sharing->shares, link)
		sides_trim(s);
}

/* Its last worker is gone, and none will come; or it was bound and nothing more. */
static bool is_over(const struct share *s, bool had_workers)
{
	if (s->seat_count > 0)
		return false;
	if (s->wish.is_bound_only && TAILQ_EMPTY(&s->sides.list))
		return true;
	return had_workers && !sides_have_workers(s) && !sharing_expects_workers(s->sharing);
}

void sharing_release(struct receiver *r)
{
	struct share *s, *next;

	for (s = TAILQ_FIRST(&r->sharing->shares); s; s = next) {
		bool had = sides_have_workers(s);

		next = TAILQ_NEXT(s, link);
		sides_release(s, r);
		if (is_over(s, had))
			share_close(s);
	}
	sharing_trim(r->sharing);
}

void sharing_tell_listening(const struct share *s, struct receiver *r)
{
	struct events *events = s->sharing->events;
	struct queued_event *e = events_add(events, UMBEL_LISTENING, r->worker, s->address, strlen(s->address));
	int seat = share_seat_of(s, r);

	if (seat >= 0)
		s->seats[seat].told = true;
	if (!e)
		return;
	e->event.listening.address = e->text;
	e->event.listening.family = s->listener.address.family;
	e->event.listening.port = s->listener.address.port;
}

/* The program's own listen(2) has set its backlog (K4). */
void sharing_listens(const struct share *s, const struct receiver *r)
{
	const struct side *side = sides_find(s, r);

	if (s->listener.address.kind == ADDRESS_UDP)
		return;
	if (side)
		socket_set_backlog(side->listener.fd, &s->wish);
	else if (s->form == SHARE_LENT)
		socket_set_backlog(s->listener.fd, &s->wish);
}

bool sharing_retire_alone(const struct receiver *r)
{
	bool any = false;
	struct share *s;

	TAILQ_FOREACH (s, &r->sharing->shares, link) {
		const struct side *side = sides_find(s, r);

		any |= side && side->is_read_alone;
		sides_retire_alone(s, r);
	}
	return any;
}

bool sharing_has_unread(const struct receiver *r)
{
	struct diag_queue q;
	struct share *s;

	TAILQ_FOREACH (s, &r->sharing->shares, link) {
		const struct side *side = sides_find(s, r);

		if (!side || !side->is_read_alone)
			continue;
		if (share_accepts(s)) /* it is still retiring */
			return true;
		if (diag_queue(side->listener.fd, &q) == 0 && q.waiting > 0)
			return true;
	}
	return false;
}

/* ---- the whole ---- */

int sharing_open(struct sharing *sharing)
{
	int err;

	TAILQ_INIT(&sharing->shares);
	TAILQ_INIT(&sharing->receivers);
	TAILQ_INIT(&sharing->dirty);
	TAILQ_INIT(&sharing->leftovers);
	sharing->lanes = epoll_create1(EPOLL_CLOEXEC);
	if (sharing->lanes < 0)
		return -errno;
	err = uv_poll_init(sharing->loop, &sharing->lanes_poll, sharing->lanes);
	if (err)
		fd_close(&sharing->lanes);
	else
		uv_timer_init(sharing->loop, &sharing->room);
	sharing->lanes_poll.data = sharing->room.data = sharing;
	if (!err)
		closed_open(sharing);
	if (!err && diag_open(&sharing->diag) < 0)
		sharing->diag = NULL; /* handshakes under way are not seen then */
	return err;
}

void sharing_close(struct sharing *sharing)
{
	struct share *s;

	while ((s = TAILQ_FIRST(&sharing->shares)))
		share_close(s);
	leftover_close(sharing);
	diag_close(sharing->diag);
	closed_close(sharing);
	uv_close((uv_handle_t *)&sharing->room, NULL);
	uv_close((uv_handle_t *)&sharing->lanes_poll, NULL);
	fd_close(&sharing->lanes);
}
