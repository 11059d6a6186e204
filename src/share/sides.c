#include "share/sides.h"

#include "base/fd.h"
#include "share/receiver.h"
#include "share/sharing.h"
#include "share/steering.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { DATAGRAMS_MOST = 4096 }; /* that are dropped at once; a socket's buffer holds fewer */

static struct side *side_of(struct listener *l)
{
	return (struct side *)((char *)l - offsetof(struct side, listener));
}

static void unreference(struct side *side)
{
	struct share *s = side->share;

	if (--side->open_handles > 0)
		return;
	handshakes_forget(&side->begun);
	free(side);
	share_unref(s);
}

static void on_timer_closed(uv_handle_t *handle)
{
	unreference(handle->data);
}

static void on_listener_closed(struct listener *l)
{
	unreference(side_of(l));
}

static void side_close(struct side *side)
{
	TAILQ_REMOVE(&side->share->sides.list, side, link);
	listener_close(&side->listener, on_listener_closed);
	uv_close((uv_handle_t *)&side->timer, on_timer_closed);
}

/* ---- what happens at one ---- */

static void on_ready(struct listener *l)
{
	struct side *side = side_of(l);
	struct share *s = side->share;

	side->readable = true;
	steering_doubt(s);
	share_on_ready(s);
	if (s->waiting && l->armed) { /* not before: mostly nothing is here, and each change is a system call */
		listener_pause(l);
		s->sides.paused = true;
	}
}

/* A worker called shutdown(2) on its copy (K35). */
static void on_shut(struct listener *l)
{
	sides_check_order(side_of(l)->share);
}

/* ---- coming and leaving ---- */

static bool is_udp(const struct share *s)
{
	return s->listener.address.kind == ADDRESS_UDP;
}

static int open_socket(struct share *s, struct side *side, int *ret)
{
	int fd = socket_open_side(&s->wish, &s->listener.address), err;

	if (fd < 0)
		return fd;
	err = group_add(&s->sides.group, &side->member, fd);
	if (err) {
		shutdown(fd, SHUT_RDWR);
		fd_close(&fd);
		return err;
	}
	*ret = fd;
	return 0;
}

static void side_init(struct share *s, struct side *side, int slot)
{
	side->share = s;
	side->slot = slot;
	uv_timer_init(s->sharing->loop, &side->timer);
	side->timer.data = side;
	side->open_handles = 2;
	s->open_handles++;
	TAILQ_INSERT_TAIL(&s->sides.list, side, link);
}

static int side_new(struct share *s, int slot, struct side **ret)
{
	struct side *side = calloc(1, sizeof(*side));
	int fd = -1, err = side ? open_socket(s, side, &fd) : -ENOMEM;

	if (!err) {
		err = listener_adopt(&side->listener, s->sharing->loop, fd, is_udp(s) ? NULL : on_ready,
				     is_udp(s) ? NULL : on_shut);
		if (err) {
			shutdown(fd, SHUT_RDWR);
			fd_close(&fd);
			group_remove(&s->sides.group, &side->member);
		}
	}
	if (err) {
		free(side);
		return err;
	}
	side->listens = true;
	side_init(s, side, slot);
	*ret = side;
	return 0;
}

int sides_adopt(struct share *s, const struct receiver *r, int fd, struct side **ret)
{
	struct side *side = calloc(1, sizeof(*side));
	int err = side ? listener_adopt(&side->listener, s->sharing->loop, fd, NULL, NULL) : -ENOMEM;

	if (err) {
		free(side);
		return err;
	}
	side->is_program = side->is_read_alone = true;
	side->owner = r->id;
	side_init(s, side, r->slot);
	*ret = side;
	return 0;
}

int sides_listen(struct side *side)
{
	struct share *s = side->share;
	int err = share_listen(s);

	if (err)
		return err;
	sides_check_order(s);
	err = socket_lock(side->listener.fd);
	if (!err && !is_udp(s))
		err = socket_listen(side->listener.fd, &s->wish);
	err = err ? err : group_add(&s->sides.group, &side->member, side->listener.fd);
	if (err) {
		shutdown(side->listener.fd, SHUT_RDWR);
		return err;
	}
	side->listens = true;
	if (!is_udp(s)) {
		pads_add(s);
		listener_watch_shut(&side->listener, on_shut);
	}
	sides_check_order(s);
	steering_update(s);
	return 0;
}

int share_listen(struct share *s)
{
	int err;

	if (!s->wish.is_bound_only || s->listener.address.kind == ADDRESS_UDP)
		return 0;
	s->is_deaf = s->form == SHARE_GROUP && s->accept_alone && socket_set_deaf(s->listener.fd, true) == 0;
	err = socket_listen(s->listener.fd, &s->wish);
	if (!err && s->form == SHARE_GROUP)
		err = sides_open(s);
	if (err)
		return err;
	s->wish.is_bound_only = false;
	listener_arm(&s->listener);
	return 0;
}

int sides_open(struct share *s)
{
	return group_add(&s->sides.group, &s->sides.door, s->listener.fd);
}

void sides_close(struct share *s)
{
	struct side *side;

	pads_drop(s);
	while ((side = TAILQ_FIRST(&s->sides.list))) {
		if (!is_udp(s) && side->listens)
			shutdown(side->listener.fd, SHUT_RDWR); /* whoever else has it keeps no port busy */
		side_close(side);
	}
	strangers_finish(s);
	group_finish(&s->sides.group);
}

void sides_remove(struct side *side)
{
	if (side->listens)
		group_remove(&side->share->sides.group, &side->member);
	side_close(side);
}

/* The one that was given back last: if its worker died, what waits in it is the successor's. */
static struct side *find_free(const struct share *s, int slot)
{
	struct side *side, *last = NULL;

	TAILQ_FOREACH (side, &s->sides.list, link)
		if (side->slot == slot && side->owner == 0 && side->listens &&
		    (!last || side->released > last->released))
			last = side;
	return last;
}

void sides_drop(int fd)
{
	char byte;

	for (int i = 0; i < DATAGRAMS_MOST; i++)
		if (recv(fd, &byte, sizeof(byte), MSG_DONTWAIT | MSG_TRUNC) < 0 && errno == EAGAIN)
			break;
}

int sides_take(struct share *s, const struct receiver *r, bool accepts, struct side **ret)
{
	struct side *side = sides_find(s, r);
	int err = 0;

	sides_check_order(s);
	if (!side)
		side = find_free(s, r->slot);
	if (!side)
		err = side_new(s, r->slot, &side);
	if (err)
		return err;
	sides_check_order(s);
	if (side->is_stale) /* broadcasts come to every socket of a port, also to one that nobody reads */
		sides_drop(side->listener.fd);
	if (side->is_program)
		fd_set_nonblocking(side->listener.fd, true);
	side->is_stale = side->was_left = side->is_program = side->is_offered = false;
	side->owner = r->id;
	side->is_read_alone = accepts || is_udp(s);
	side->times_shut = 0;
	retire_cancel(side);
	steering_update(s); /* an index more */
	*ret = side;
	return 0;
}

struct side *sides_find(const struct share *s, const struct receiver *r)
{
	struct side *side;

	TAILQ_FOREACH (side, &s->sides.list, link)
		if (side->owner == r->id)
			return side;
	return NULL;
}

struct side *sides_find_left(const struct share *s, int slot)
{
	struct side *side = find_free(s, slot);

	return side && side->is_program && (!side->was_left || is_udp(s)) ? side : NULL;
}

void sides_give(struct side *side, const struct receiver *r)
{
	if (side->is_stale)
		sides_drop(side->listener.fd);
	side->is_stale = side->was_left = false;
	side->owner = r->id;
	side->times_shut = 0;
	retire_cancel(side);
	steering_update(side->share);
}

void sides_give_back(struct side *side)
{
	struct share *s = side->share;

	side->owner = 0;
	side->released = ++s->sharing->releases;
	if (!side->listens)
		sides_remove(side);
	else if (side->is_read_alone && !is_udp(s) && !side->retires_ms)
		retire_begin(side); /* unless a successor takes it before long, who waits in it is to see an end */
}

bool sides_have_workers(const struct share *s)
{
	const struct side *side;

	TAILQ_FOREACH (side, &s->sides.list, link)
		if (side->is_program && side->owner && side->listens)
			return true;
	return false;
}

bool sides_has_listening(const struct share *s, const struct receiver *r)
{
	const struct side *side;

	TAILQ_FOREACH (side, &s->sides.list, link)
		if (side->owner == r->id && side->listens)
			return true;
	return false;
}

void sides_release(struct share *s, const struct receiver *r)
{
	struct side *side, *next;

	for (side = TAILQ_FIRST(&s->sides.list); side; side = next) {
		next = TAILQ_NEXT(side, link);
		if (side->owner != r->id)
			continue;
		side->is_stale = is_udp(s) && r->asked;
		side->was_left = r->asked;
		sides_give_back(side);
	}
}

void sides_retire_alone(struct share *s, const struct receiver *r)
{
	struct side *side = sides_find(s, r);

	if (side && side->is_read_alone && !side->is_program && !is_udp(s))
		retire_begin(side);
}

/* A slot keeps one beside its worker's: the next successor's. */
void sides_trim(struct share *s)
{
	struct side *side, *other;

	if (is_udp(s))
		return; /* there is no shutdown(2) for it, so it could not leave the group at a known time */
	TAILQ_FOREACH (side, &s->sides.list, link) {
		bool wanted;

		if (side->owner || side->retires_ms)
			continue; /* a spare's is nobody else's: it has no slot yet */
		wanted = sharing_wants_slot(s->sharing, side->slot);
		for (other = TAILQ_NEXT(side, link); wanted && other; other = TAILQ_NEXT(other, link))
			wanted = other->slot != side->slot || other->owner || other->retires_ms;
		if (!wanted)
			retire_begin(side);
	}
}

/* ---- connections in them ---- */

int sides_accept(struct share *s, bool nonblocking)
{
	struct side *side;

	TAILQ_FOREACH (side, &s->sides.list, link) {
		int fd;

		if (!side->readable || side->is_program) /* a program's may block */
			continue;
		fd = listener_accept(&side->listener, nonblocking);
		if (fd >= 0)
			return fd;
		side->readable = false;
	}
	return -EAGAIN;
}

void sides_arm(struct share *s)
{
	struct side *side;

	s->sides.paused = false;
	TAILQ_FOREACH (side, &s->sides.list, link) {
		if (side->steered || side->is_program)
			listener_pause(&side->listener);
		else
			listener_arm(&side->listener);
		side->readable &= !side->steered;
	}
}

unsigned sides_waiting(const struct share *s, int slot)
{
	struct diag_queue q;
	struct side *side;
	unsigned count = 0;

	if (slot == 0 && !(s->form == SHARE_GROUP && is_udp(s)) && diag_queue(s->listener.fd, &q) == 0)
		count = q.waiting;
	TAILQ_FOREACH (side, &s->sides.list, link)
		if ((slot == 0 || side->slot == slot) && diag_queue(side->listener.fd, &q) == 0)
			count += q.waiting;
	return count;
}
