#include "life/notify.h"

#include "base/fd.h"
#include "base/proc.h"
#include "life/crew.h"
#include "life/ready.h"
#include "life/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	AT_ONCE = 32,      /* datagrams, before anything else has its turn */
	MOST = 4096,       /* bytes of one, as systemd */
	ANCESTORS = 32,    /* that are looked at for the worker */
};

/* ---- what was said ---- */

static bool is(const char *line, size_t length, const char *text)
{
	return length == strlen(text) && memcmp(line, text, length) == 0;
}

/* Cut between two characters of UTF-8. */
static size_t cut(const char *text, size_t length)
{
	size_t most = NOTIFY_STATUS_MOST;

	if (length <= most)
		return length;
	while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80)
		most--;
	return most ? most : NOTIFY_STATUS_MOST;
}

static void read_line(const char *line, size_t length, struct notify_message *m)
{
	static const char status[] = "STATUS=";
	size_t name = sizeof(status) - 1;

	m->ready |= is(line, length, "READY=1");
	m->stopping |= is(line, length, "STOPPING=1");
	m->watchdog |= is(line, length, "WATCHDOG=1");
	if (length < name || memcmp(line, status, name) != 0)
		return;
	m->status = line + name;
	m->status_length = cut(m->status, length - name);
}

int notify_parse(const char *text, size_t length, struct notify_message *ret)
{
	struct notify_message m = {0};

	if (length > 0 && text[length - 1] == '\0')
		length--;
	if (memchr(text, '\0', length))
		return -EINVAL;
	while (length > 0) {
		const char *end = memchr(text, '\n', length);
		size_t line = end ? (size_t)(end - text) : length;

		read_line(text, line, &m);
		line += end != NULL;
		text += line;
		length -= line;
	}
	*ret = m;
	return 0;
}

/* ---- what it does ---- */

static void keep_status(struct umbel_worker *w, const struct notify_message *m)
{
	char *status = m->status_length ? strndup(m->status, m->status_length) : NULL;

	if (m->status_length && !status)
		return; /* the old one stays */
	free(w->status);
	w->status = status;
}

static void act(struct umbel_worker *w, const struct notify_message *m)
{
	if (m->status)
		keep_status(w, m);
	if (m->watchdog)
		w->watchdog_ms = worker_now_ms();
	if (m->ready)
		ready_says(w);
	if (m->stopping)
		worker_leaves(w);
}

/* ---- who may say it ---- */

/* By ancestors; of who has left its family only the group is left to tell. */
static bool is_started_by(const struct umbel_worker *w, pid_t pid)
{
	pid_t each = pid, any;

	if (pid <= 0) /* 0: of another pid namespace */
		return false;
	for (int i = 0; i < ANCESTORS && each > 1; i++)
		if (each == w->receiver.pid)
			return true;
		else if (!proc_family(each, &each, &any))
			break;
	return getpgid(pid) == w->receiver.pid;
}

/* The socket says whose word it is, so that the sender need not live any more. One that became another user on its way
 * is looked for. */
static bool may_speak(const struct umbel_worker *w, struct msghdr *h)
{
	struct ucred sender;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&sender, CMSG_DATA(c), sizeof(sender));
			return sender.uid == 0 || sender.uid == geteuid() || sender.uid == w->notify.uid ||
			       is_started_by(w, sender.pid);
		}
	return false;
}

/* ---- the socket ---- */

/* False: there is nothing more. */
static bool take_one(struct umbel_worker *w)
{
	char text[MOST];
	struct iovec part = {text, sizeof(text)};
	/* Room for credentials alone: the kernel closes descriptors that come (FDSTORE=1, BARRIER=1). */
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(w->notify.fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct notify_message m;

	if (n < 0)
		return errno == EINTR;
	if (!(h.msg_flags & MSG_TRUNC) && may_speak(w, &h) && notify_parse(text, (size_t)n, &m) == 0)
		act(w, &m);
	return true;
}

void notify_read(struct umbel_worker *w)
{
	for (int i = 0; i < AT_ONCE && w->notify.fd >= 0 && take_one(w); i++)
		;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	notify_read(poll->data);
}

/* A name that the kernel chooses, of a namespace without files: nothing is left behind. */
static int bind_anywhere(int fd, char *variable)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(address.sun_family);

	if (bind(fd, (struct sockaddr *)&address, length) < 0)
		return -errno;
	length = sizeof(address);
	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	length -= (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1;
	snprintf(variable, NOTIFY_VARIABLE, "NOTIFY_SOCKET=@%.*s", (int)length, address.sun_path + 1);
	return 0;
}

int notify_open(struct umbel_worker *w, char variable[NOTIFY_VARIABLE])
{
	const struct umbel_settings *s = w->crew->settings;
	int on = 1, err, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	err = setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ? -errno : bind_anywhere(fd, variable);
	if (err) {
		fd_close(&fd);
		return err;
	}
	w->notify.fd = fd;
	w->notify.uid = s->uid >= 0 ? (uid_t)s->uid : geteuid();
	return 0;
}

bool notify_begin(struct umbel_worker *w)
{
	struct notify *n = &w->notify;

	if (n->fd < 0)
		return false;
	if (uv_poll_init(w->crew->loop, &n->poll, n->fd) < 0) {
		fd_close(&n->fd);
		return false;
	}
	n->poll.data = w;
	uv_poll_start(&n->poll, UV_READABLE, on_readable);
	return true;
}

static void on_closed(uv_handle_t *handle)
{
	worker_unref(handle->data);
}

void notify_close(struct umbel_worker *w)
{
	struct notify *n = &w->notify;

	if (n->fd >= 0 && n->poll.data)
		uv_close((uv_handle_t *)&n->poll, on_closed);
	fd_close(&n->fd);
}
