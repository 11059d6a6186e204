#include "life/calls.h"

#include "base/fd.h"
#include "base/reason.h"
#include "life/activation.h"
#include "life/crew.h"
#include "life/own.h"
#include "life/worker.h"
#include "net/connections.h"
#include "share/closed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SWEEP_AT = 8 };

/* ---- one call ---- */

static void pass(struct calls *x, const struct trap_call *call)
{
	trap_continue(x->notify, call->id);
}

/* Said once for each reason: every worker does the same. */
static void tell_once(struct crew *crew, unsigned reason, const char *text)
{
	if (crew->told_of_calls & 1u << reason)
		return;
	crew->told_of_calls |= (uint8_t)(1u << reason);
	events_add_note(crew->events, 0, "share", "%s", text);
}

/* Why a bind(2) could not be looked at; what the kernel will say of it itself is the program's affair. */
static void tell_unseen(struct crew *crew, int error)
{
	char text[256];

	switch (-error) {
	case ENOTSUP: case EAFNOSUPPORT: case EINVAL: case EFAULT: case EBADF: case ENOTSOCK: case ENOENT: case ESRCH:
		return;
	case EPERM: case EACCES:
		tell_once(crew, 0, "what a program binds cannot be seen (it is not dumpable, or a container forbids it): "
			  "its bind(2) is left alone");
		return;
	default:
		snprintf(text, sizeof(text), "what a program binds cannot be seen: %s: its bind(2) is left alone",
			 strerror(-error));
		tell_once(crew, 2, text);
	}
}

/* Not for ever, and no reason to leave the program's socket alone: it would have the port for itself, and no other worker
 * could have it. So it hears of what we lack. */
static void fail_unseen(struct calls *x, const struct trap_call *call, const char *what, int error)
{
	trap_answer(x->notify, call->id, error);
	own_tell_result(x->worker, call->thread, what, NULL, error);
}

static unsigned count_sockets(struct crew *crew, const struct umbel_worker *w)
{
	unsigned count = 0;
	struct share *s;

	TAILQ_FOREACH (s, &crew->sharing.shares, link) {
		const struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			count += side->is_program && side->owner == w->receiver.id;
	}
	return count;
}

bool calls_have_sockets(const struct umbel_worker *w)
{
	struct share *s;

	TAILQ_FOREACH (s, &w->crew->sharing.shares, link) {
		int seat = s->form == SHARE_LENT ? share_seat_of(s, &w->receiver) : -1;

		if (seat >= 0 && s->seats[seat].accepts)
			return true;
	}
	return count_sockets(w->crew, w) > 0;
}

static bool is_fd_of(const struct stat *its, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_ino == its->st_ino && st.st_dev == its->st_dev;
}

/* Of nothing but sockets: a file of a server that is away would hold us up. 0; -EACCES: we may not look; -errno. */
static int stat_fd(pid_t thread, int fd, struct stat *ret)
{
	char path[64], link[16];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)thread, fd);
	length = readlink(path, link, sizeof(link));
	if (length >= 0 && (length <= 8 || memcmp(link, "socket:[", 8) != 0))
		return -ENOTSOCK;
	return length < 0 || stat(path, ret) < 0 ? -errno : 0;
}

/* Of one of this worker's own; the share alone if its workers have one socket. */
static struct share *find_listening(const struct umbel_worker *w, const struct stat *st, struct side **ret)
{
	struct share *s;

	*ret = NULL;
	TAILQ_FOREACH (s, &w->crew->sharing.shares, link) {
		struct side *side;

		if (s->form == SHARE_LENT && is_fd_of(st, s->listener.fd))
			return s;
		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->owner == w->receiver.id && is_fd_of(st, side->listener.fd)) {
				*ret = side;
				return s;
			}
	}
	return NULL;
}

/* ---- bind(2) ---- */

static int bind_it(struct calls *x, const struct trap_call *call, struct own *own)
{
	struct umbel_worker *w = x->worker;
	struct share *s;
	int err = own_may_bind(own);

	if (!err && count_sockets(x->crew, w) % SWEEP_AT == SWEEP_AT - 1)
		closed_sweep(&w->receiver); /* some open ports and close them all the time */
	if (!err && count_sockets(x->crew, w) >= CALLS_SOCKETS_MOST) {
		tell_once(x->crew, 3, "a worker has as many sockets as can be shared (64): what it binds beyond is "
			  "refused (--listen or --no-share say which are to be shared)");
		err = -EMFILE;
	}
	err = err ? err : own_find_or_open(own, &s);
	err = err ? err : own_look_at_older(own, s);
	if (err)
		return err;
	err = s->form == SHARE_LENT ? own_lend(own, s, x->notify, call) : own_adopt(own, s, x->notify, call);
	if (err)
		own_forget(s);
	closed_watch(&x->crew->sharing);
	return err;
}

/* Some are gone: a signal has interrupted them, and its thread may have called again. */
static void forget_gone(struct calls *x)
{
	unsigned count = 0;

	for (unsigned i = 0; i < x->held_count; i++)
		if (trap_is_valid(x->notify, x->held[i].id))
			x->held[count++] = x->held[i];
	x->held_count = count;
}

/* Of a spare: answered when it has a slot. */
static void hold(struct calls *x, const struct trap_call *call)
{
	forget_gone(x);
	if (x->held_count == CALLS_HELD_MOST) {
		trap_answer(x->notify, call->id, -EMFILE);
		return;
	}
	x->held[x->held_count++] = *call;
	worker_happens(x->worker, WORKER_HELD);
}

/* A signal has taken a call back that was done, or its answer (K55), and its thread calls again. */
static bool was_bound_before(const struct calls *x, const struct trap_call *call, const struct own *own)
{
	const struct share *s;
	struct side *side;
	struct stat st;

	if (!x->crew->filter.is_interrupted)
		return false;
	if (own->fd >= 0)
		return own_is_there(own);
	if (stat_fd(call->thread, call->fd, &st) < 0)
		return false;
	s = find_listening(x->worker, &st, &side);
	return s && s == sharing_find_address(&x->crew->sharing, &own->address, s->wish.ipv6_only);
}

static void on_bind(struct calls *x, const struct trap_call *call)
{
	struct own own;
	int err = own_look(x->worker, call, &own);

	if (!trap_is_valid(x->notify, call->id))
		goto out; /* what was read may be another's */
	if ((!err || err == -EINVAL) && was_bound_before(x, call, &own)) {
		trap_answer(x->notify, call->id, 0);
		goto out;
	}
	if (!err || err == -ENOTSUP)
		activation_yield(x->worker, &own.address, own.ipv6_only);
	if (err == -ENOTSUP)
		own_tell_beside(&own);
	if (error_is_lack(err)) {
		fail_unseen(x, call, "bind", err);
		goto out;
	}
	if (err) {
		tell_unseen(x->crew, err);
		pass(x, call);
		goto out;
	}
	if (x->worker->is_spare && own.address.kind == ADDRESS_UDP) { /* there is no listen(2) of it */
		hold(x, call);
		own_finish(&own);
		return;
	}
	err = bind_it(x, call, &own);
	if (own.replaced)
		tell_once(x->crew, 1, own.replaced);
	trap_answer(x->notify, call->id, err);
	own_tell_result(x->worker, own.caller.process, "bind", &own.address, err);
out:
	own_finish(&own);
}

/* ---- listen(2) ---- */

/* The dead predecessor's takes the place of its own, unless that is known by more than this one number in this one
 * process. */
static bool take_over(struct calls *x, const struct trap_call *call, pid_t process, struct side *own)
{
	struct side *left = sides_find_left(own->share, x->worker->receiver.slot);
	struct trap_fd look;

	if (!left || trap_look_at_fd(call->thread, call->fd, &look) < 0 || look.is_watched || look.copies != 1 ||
	    !own_is_alone(x->worker, process, own->listener.fd) || !trap_is_valid(x->notify, call->id))
		return false;
	fd_set_nonblocking(left->listener.fd, look.nonblocking); /* all who have it share that flag */
	if (trap_replace(x->notify, call->id, left->listener.fd, call->fd, look.cloexec) < 0)
		return false;
	sides_give(left, &x->worker->receiver);
	sides_give_back(own);
	return true;
}

/* The socket of ours, or of theirs that is one of ours now, which that listen(2) means; *ret_side NULL: all have it. 0;
 * -ENOENT: it is none of them; -EACCES: we may not look; else what is needed to know that is lacking. */
static int find_meant(struct calls *x, const struct trap_call *call, pid_t *ret_process, struct share **ret,
		      struct side **ret_side)
{
	struct umbel_worker *w = x->worker;
	struct trap_caller caller;
	struct stat st;
	int err = trap_caller(call->thread, &caller), unseen = err ? err : stat_fd(call->thread, call->fd, &st);

	*ret = NULL;
	*ret_process = err ? call->thread : caller.process;
	if (!unseen)
		*ret = find_listening(w, &st, ret_side);
	if (!err && !*ret && !w->is_spare && !w->receiver.asked) {
		err = own_take_again(w, x->notify, call, ret_side);
		*ret = err ? NULL : (*ret_side)->share;
	}
	if (*ret)
		return 0;
	if (error_is_lack(err))
		return err;
	return unseen == -EACCES ? unseen : -ENOENT;
}

/* Those that the worker has bound and that do not listen yet: how many, and one of them. */
static unsigned find_bound(const struct umbel_worker *w, struct side **ret)
{
	unsigned count = 0;
	struct share *s;

	TAILQ_FOREACH (s, &w->crew->sharing.shares, link) {
		struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link) {
			if (side->owner != w->receiver.id || side->listens)
				continue;
			*ret = side;
			count++;
		}
	}
	return count;
}

/* It was dumpable when it bound, and is not any more. The one that it must mean listens from now on; then the kernel
 * does what was asked, whichever it is. */
static void listen_unseen(struct calls *x, const struct trap_call *call, pid_t process)
{
	struct umbel_worker *w = x->worker;
	struct side *side = NULL;
	unsigned count = w->receiver.asked ? 0 : find_bound(w, &side);
	int err;

	if (count > 1)
		tell_once(x->crew, 4, "what a program listens on cannot be seen (it is not dumpable any more): its listen(2) "
			  "is left alone, and the socket is not shared");
	if (count != 1) {
		pass(x, call);
		return;
	}
	if (w->is_spare) {
		hold(x, call);
		return;
	}
	err = sides_listen(side);
	err = err ? err : own_seat(w, side->share);
	if (err)
		trap_answer(x->notify, call->id, err);
	else
		pass(x, call);
	own_tell_result(w, process, "listen on", &side->share->listener.address, err);
	if (!err)
		own_serves(w, side->share);
}

static void on_listen(struct calls *x, const struct trap_call *call)
{
	struct umbel_worker *w = x->worker;
	struct share *s;
	struct side *side;
	pid_t process;
	int err = find_meant(x, call, &process, &s, &side);

	if (!trap_is_valid(x->notify, call->id))
		return;
	if (error_is_lack(err)) {
		fail_unseen(x, call, "listen on", err);
		return;
	}
	if (err == -EACCES) {
		listen_unseen(x, call, process);
		return;
	}
	if (err) {
		pass(x, call);
		return;
	}
	if (w->is_spare) {
		hold(x, call);
		return;
	}
	if (w->receiver.asked)
		err = -ESHUTDOWN; /* it is to leave, and nobody is steered to it any more */
	else if (!side)
		err = share_listen(s);
	else if (!side->listens && !take_over(x, call, process, side))
		err = sides_listen(side);
	if (!err)
		err = own_seat(w, s);
	trap_answer(x->notify, call->id, err);
	own_tell_result(w, process, "listen on", &s->listener.address, err);
	if (!err)
		own_serves(w, s);
}

void calls_on(struct calls *x, const struct trap_call *call)
{
	if (!call->thread) /* of another pid namespace: nothing can be seen of it */
		pass(x, call);
	else if (call->which == TRAP_BIND)
		on_bind(x, call);
	else
		on_listen(x, call);
}

void calls_release(struct calls *x)
{
	unsigned count = x->held_count;

	x->held_count = 0;
	for (unsigned i = 0; i < count; i++)
		calls_on(x, &x->held[i]);
}
