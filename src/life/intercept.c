#include "life/intercept.h"

#include "base/fd.h"
#include "base/reason.h"
#include "life/calls.h"
#include "life/crew.h"
#include "life/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CALLS_A_TURN = 32 }; /* answered before other descriptors have their turn */

struct intercept {
	struct calls calls;
	uv_poll_t child, poll; /* first the one, then the other */
	int child_fd;          /* -1 */
	unsigned references;   /* the worker's, and open handles */
};

void intercept_release(struct umbel_worker *w)
{
	struct share *s;

	TAILQ_FOREACH (s, &w->crew->sharing.shares, link) {
		struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			if (side->owner == w->receiver.id)
				side->slot = w->receiver.slot;
	}
	if (w->intercept)
		calls_release(&w->intercept->calls);
}

static void on_calls(uv_poll_t *poll, int status, int events)
{
	struct intercept *x = poll->data;
	struct trap_call call;
	int err = status;

	for (int i = 0; i < CALLS_A_TURN && x->calls.worker; i++) {
		err = trap_receive(x->calls.notify, &call);
		if (err == -ENOENT)
			continue; /* that one is gone */
		if (err)
			break;
		calls_on(&x->calls, &call);
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
	int err = uv_poll_init(x->calls.crew->loop, poll, fd);

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

static void tell_no_filter(struct crew *crew, int error)
{
	const char *why = error == -EBUSY ? "another program answers such calls already: umbel under umbel, or a container's"
					  : strerror(-error);

	if (crew->told_no_filter)
		return;
	crew->told_no_filter = true;
	events_add_note(crew->events, 0, "share", "no seccomp filter: %s. What programs bind is not shared: more than one "
			"worker can be had of programs that understand LISTEN_FDS (--listen ADDRESS) or speak the channel",
			why);
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
		err = open_poll(x, &x->poll, notify, on_calls);
	if (!err)
		x->calls.notify = notify;
	else
		fd_close(&notify);
	if (err && err != -EPIPE)
		tell_no_filter(x->calls.crew, err);
	if (err && x->calls.worker)
		x->calls.worker->kind_why = no_filter;
}

int intercept_prepare(struct umbel_worker *w, int *ret_child_end)
{
	struct crew *crew = w->crew;
	struct intercept *x = calloc(1, sizeof(*x));
	int ends[2], err = crew->filter.program ? 0 : filter_build(&crew->filter);

	if (!err && !x)
		err = -ENOMEM;
	if (!err && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		err = -errno;
	if (err) {
		free(x);
		if (error_is_lack(err))
			return err; /* it is started later, and not as one that has the port for itself */
		tell_no_filter(crew, err);
		w->kind_why = no_filter;
		return 0;
	}
	x->calls.worker = w;
	x->calls.crew = crew;
	x->references = 1;
	x->calls.notify = -1;
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
	x->calls.worker = NULL;
	close_poll(&x->child, &x->child_fd);
	close_poll(&x->poll, &x->calls.notify);
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
