#include "primary/intercept.h"

#include "base/fd.h"
#include "net/trap.h"
#include "primary/activation.h"
#include "primary/closed.h"
#include "primary/cluster.h"
#include "primary/own.h"
#include "primary/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	CALLS_A_TURN = 32, /* answered before other descriptors have their turn */
	HELD_MOST = 16,
	SOCKETS_MOST = 64, /* of one worker */
	SWEEP_AT = 8,
};

struct intercept {
	struct umbel_worker *worker; /* NULL: it is dead */
	struct cluster *cluster;
	uv_poll_t child, calls; /* first the one, then the other */
	int child_fd, notify;   /* -1 */
	unsigned references; /* the worker's, and open handles */
	struct trap_call held[HELD_MOST];
	unsigned held_count;
};

/* ---- one call ---- */

static void pass(struct intercept *x, const struct trap_call *call)
{
	trap_continue(x->notify, call->id);
}

/* Said once for each reason: every worker does the same. */
static void tell_once(struct cluster *c, unsigned reason, const char *text)
{
	if (c->told_of_calls & 1u << reason)
		return;
	c->told_of_calls |= (uint8_t)(1u << reason);
	cluster_note(c, 0, "share", "%s", text);
}

/* Why a bind(2) could not be looked at; what the kernel will say of it itself is the program's affair. */
static void tell_unseen(struct cluster *c, int error)
{
	char text[256];

	switch (-error) {
	case ENOTSUP: case EAFNOSUPPORT: case EINVAL: case EFAULT: case EBADF: case ENOTSOCK: case ENOENT: case ESRCH:
		return;
	case EPERM: case EACCES:
		tell_once(c, 0, "what a program binds cannot be seen (it is not dumpable, or a container forbids it): its "
			  "bind(2) is left alone");
		return;
	default:
		snprintf(text, sizeof(text), "what a program binds cannot be seen: %s: its bind(2) is left alone",
			 strerror(-error));
		tell_once(c, 2, text);
	}
}

/* Not for ever, and no reason to leave the program's socket alone: it would have the port for itself, and no other worker
 * could have it. So it hears of what we lack. */
static bool is_lack(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -ENOBUFS;
}

static void fail_unseen(struct intercept *x, const struct trap_call *call, const char *what, int error)
{
	trap_answer(x->notify, call->id, error);
	own_tell_result(x->worker, call->thread, what, NULL, error);
}

static unsigned count_sockets(struct cluster *c, const struct umbel_worker *w)
{
	unsigned count = 0;
	struct share *s;

	TAILQ_FOREACH (s, &c->sharing.shares, link) {
		const struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			count += side->is_program && side->owner == w->id;
	}
	return count;
}

bool intercept_has_sockets(const struct umbel_worker *w)
{
	struct share *s;

	TAILQ_FOREACH (s, &w->cluster->sharing.shares, link) {
		int seat = s->form == SHARE_LENT ? share_seat_of(s, w) : -1;

		if (seat >= 0 && s->seats[seat].accepts)
			return true;
	}
	return count_sockets(w->cluster, w) > 0;
}

static bool is_fd_of(const struct stat *its, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_ino == its->st_ino && st.st_dev == its->st_dev;
}

/* Of nothing but sockets: a file of a server that is away would hold us up. */
static bool stat_fd(pid_t thread, int fd, struct stat *ret)
{
	char path[64], link[16];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)thread, fd);
	return readlink(path, link, sizeof(link)) > 8 && memcmp(link, "socket:[", 8) == 0 && stat(path, ret) == 0;
}

/* ---- bind(2) ---- */

static int bind_it(struct intercept *x, const struct trap_call *call, struct own *own)
{
	struct umbel_worker *w = x->worker;
	struct share *s;
	int err = own_may_bind(own);

	if (!err && count_sockets(x->cluster, w) % SWEEP_AT == SWEEP_AT - 1)
		closed_sweep(w); /* some open ports and close them all the time */
	if (!err && count_sockets(x->cluster, w) >= SOCKETS_MOST)
		err = -EMFILE;
	err = err ? err : own_find_or_open(own, &s);
	err = err ? err : own_look_at_older(own, s);
	if (err)
		return err;
	err = s->form == SHARE_LENT ? own_lend(own, s, x->notify, call) : own_adopt(own, s, x->notify, call);
	if (err)
		own_forget(s);
	closed_watch(x->cluster);
	return err;
}

/* Of a spare: answered when it has a slot. */
static void hold(struct intercept *x, const struct trap_call *call)
{
	if (x->held_count == HELD_MOST) {
		trap_answer(x->notify, call->id, -EMFILE);
		return;
	}
	x->held[x->held_count++] = *call;
	worker_happens(x->worker, WORKER_HELD);
}

static void on_bind(struct intercept *x, const struct trap_call *call)
{
	struct own own;
	int err = own_look(x->worker, call, &own);

	if (!trap_is_valid(x->notify, call->id))
		goto out; /* what was read may be another's */
	if (!err || err == -ENOTSUP)
		activation_yield(x->worker, &own.address, own.ipv6_only);
	if (err == -ENOTSUP)
		own_tell_beside(&own);
	if (is_lack(err)) {
		fail_unseen(x, call, "bind", err);
		goto out;
	}
	if (err) {
		tell_unseen(x->cluster, err);
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
		tell_once(x->cluster, 1, own.replaced);
	trap_answer(x->notify, call->id, err);
	own_tell_result(x->worker, own.caller.process, "bind", &own.address, err);
out:
	own_finish(&own);
}

/* ---- listen(2) ---- */

/* Of one of this worker's own; the share alone if its workers have one socket. */
static struct share *find_listening(const struct umbel_worker *w, const struct stat *st, struct side **ret)
{
	struct share *s;

	*ret = NULL;
	TAILQ_FOREACH (s, &w->cluster->sharing.shares, link) {
		struct side *side;

		if (s->form == SHARE_LENT && is_fd_of(st, s->listener.fd))
			return s;
		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->owner == w->id && is_fd_of(st, side->listener.fd)) {
				*ret = side;
				return s;
			}
	}
	return NULL;
}

/* The dead predecessor's takes the place of its own, unless that is known by more than this one number. */
static bool take_over(struct intercept *x, const struct trap_call *call, struct side *own)
{
	struct side *left = sides_find_left(own->share, x->worker->slot->number);
	struct trap_fd look;

	if (!left || trap_look_at_fd(call->thread, call->fd, &look) < 0 || look.is_watched || look.copies != 1 ||
	    !trap_is_valid(x->notify, call->id))
		return false;
	fd_set_nonblocking(left->listener.fd, look.nonblocking); /* all who have it share that flag */
	if (trap_replace(x->notify, call->id, left->listener.fd, call->fd, look.cloexec) < 0)
		return false;
	sides_give(left, x->worker);
	sides_give_back(own);
	return true;
}

/* The socket of ours, or of theirs that is one of ours now, which that listen(2) means; *ret_side NULL: all have it. 0;
 * -ENOENT: it is none of them; -errno: what is needed to know that is lacking. */
static int find_meant(struct intercept *x, const struct trap_call *call, pid_t *ret_process, struct share **ret,
		      struct side **ret_side)
{
	struct umbel_worker *w = x->worker;
	struct trap_caller caller;
	struct stat st;
	int err = trap_caller(call->thread, &caller);

	*ret = NULL;
	*ret_process = err ? call->thread : caller.process;
	if (!err && stat_fd(call->thread, call->fd, &st))
		*ret = find_listening(w, &st, ret_side);
	if (!err && !*ret && !w->is_spare && !w->asked) {
		err = own_take_again(w, x->notify, call, ret_side);
		*ret = err ? NULL : (*ret_side)->share;
	}
	if (*ret)
		return 0;
	return is_lack(err) ? err : -ENOENT;
}

static void on_listen(struct intercept *x, const struct trap_call *call)
{
	struct umbel_worker *w = x->worker;
	struct share *s;
	struct side *side;
	pid_t process;
	int err = find_meant(x, call, &process, &s, &side);

	if (!trap_is_valid(x->notify, call->id))
		return;
	if (is_lack(err)) {
		fail_unseen(x, call, "listen on", err);
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
	if (w->asked)
		err = -ESHUTDOWN; /* it is to leave, and nobody is steered to it any more */
	else if (!side)
		err = share_listen(s);
	else if (!side->listens && !take_over(x, call, side))
		err = sides_listen(side);
	if (!err)
		err = own_seat(w, s);
	trap_answer(x->notify, call->id, err);
	own_tell_result(w, process, "listen on", &s->listener.address, err);
	if (!err)
		own_serves(w, s);
}

static void on_call(struct intercept *x, const struct trap_call *call)
{
	if (!call->thread) /* of another pid namespace: nothing can be seen of it */
		pass(x, call);
	else if (call->which == TRAP_BIND)
		on_bind(x, call);
	else
		on_listen(x, call);
}

void intercept_release(struct umbel_worker *w)
{
	struct intercept *x = w->intercept;
	struct share *s;

	TAILQ_FOREACH (s, &w->cluster->sharing.shares, link) {
		struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->owner == w->id)
				side->slot = w->slot->number;
	}
	if (!x)
		return;
	for (unsigned i = 0; i < x->held_count; i++)
		on_call(x, &x->held[i]);
	x->held_count = 0;
}

static void on_calls(uv_poll_t *poll, int status, int events)
{
	struct intercept *x = poll->data;
	struct trap_call call;
	int err = status;

	for (int i = 0; i < CALLS_A_TURN && x->worker; i++) {
		err = trap_receive(x->notify, &call);
		if (err == -ENOENT)
			continue; /* that one is gone */
		if (err)
			break;
		on_call(x, &call);
	}
	if (err && err != -EAGAIN && err != -ENOENT)
		uv_poll_stop(poll); /* nobody has the filter any more */
}

/* ---- beginning and end ---- */

static void unreference(struct intercept *x)
{
	if (--x->references == 0)
		free(x);
}

static void on_closed(uv_handle_t *handle)
{
	unreference(handle->data);
}

static void close_poll(uv_poll_t *poll, int *fd)
{
	if (*fd < 0)
		return;
	uv_close((uv_handle_t *)poll, on_closed);
	fd_close(fd);
}

static int open_poll(struct intercept *x, uv_poll_t *poll, int fd, uv_poll_cb f)
{
	int err = uv_poll_init(&x->cluster->loop, poll, fd);

	if (err)
		return err;
	poll->data = x;
	x->references++;
	err = uv_poll_start(poll, UV_READABLE, f);
	if (err)
		uv_close((uv_handle_t *)poll, on_closed);
	return err;
}

static const char no_filter[] = "but what it binds is not shared: there is no seccomp filter ('umbel why' says why)";

static void tell_no_filter(struct cluster *c, int error)
{
	const char *why = error == -EBUSY ? "another program answers such calls already: umbel under umbel, or a container's"
					  : strerror(-error);

	if (c->told_no_filter)
		return;
	c->told_no_filter = true;
	cluster_note(c, 0, "share", "no seccomp filter: %s. What programs bind is not shared: more than one worker can be had "
		     "of programs that understand LISTEN_FDS (--listen ADDRESS) or speak the channel", why);
}

/* 0 and the notification descriptor, or the child's -errno; -EPIPE: it died before. */
static int receive_filter(int from, int *ret)
{
	int error = 0;
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {&error, sizeof(error)};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(from, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	const struct cmsghdr *head = n == sizeof(error) ? CMSG_FIRSTHDR(&m) : NULL;

	if (n < 0)
		return -errno;
	if (n != sizeof(error))
		return -EPIPE;
	if (error || !head)
		return error ? error : -EMFILE;
	memcpy(ret, CMSG_DATA(head), sizeof(*ret));
	return 0;
}

static void on_child(uv_poll_t *poll, int status, int events)
{
	struct intercept *x = poll->data;
	int notify = -1, err = receive_filter(x->child_fd, &notify);

	if (err == -EAGAIN || err == -EINTR)
		return;
	close_poll(&x->child, &x->child_fd);
	if (!err)
		err = open_poll(x, &x->calls, notify, on_calls);
	if (!err)
		x->notify = notify;
	else
		fd_close(&notify);
	if (err && err != -EPIPE)
		tell_no_filter(x->cluster, err);
	if (err && x->worker)
		x->worker->kind_why = no_filter;
}

int intercept_prepare(struct umbel_worker *w, int *ret_child_end)
{
	struct cluster *c = w->cluster;
	struct intercept *x = calloc(1, sizeof(*x));
	int ends[2], err = c->filter.program ? 0 : filter_build(&c->filter);

	if (!err && !x)
		err = -ENOMEM;
	if (!err && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		err = -errno;
	if (err) {
		free(x);
		if (is_lack(err))
			return err; /* it is started later, and not as one that has the port for itself */
		tell_no_filter(c, err);
		w->kind_why = no_filter;
		return 0;
	}
	x->worker = w;
	x->cluster = c;
	x->references = 1;
	x->notify = -1;
	x->child_fd = ends[0];
	w->intercept = x;
	*ret_child_end = ends[1];
	return 0;
}

void intercept_begin(struct umbel_worker *w)
{
	struct intercept *x = w->intercept;

	if (x && open_poll(x, &x->child, x->child_fd, on_child) < 0)
		fd_close(&x->child_fd);
}

void intercept_end(struct umbel_worker *w)
{
	struct intercept *x = w->intercept;

	if (!x)
		return;
	w->intercept = NULL;
	x->worker = NULL;
	close_poll(&x->child, &x->child_fd);
	close_poll(&x->calls, &x->notify);
	unreference(x);
}

void intercept_destroy(struct umbel_worker *w)
{
	if (!w->intercept)
		return;
	fd_close(&w->intercept->child_fd);
	free(w->intercept);
	w->intercept = NULL;
}
