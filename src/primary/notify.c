#include "primary/notify.h"

#include "base/fd.h"
#include "base/proc.h"
#include "primary/cluster.h"
#include "primary/ready.h"
#include "primary/worker.h"

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
	ANCESTORS = 32,    /* that are looked at for a worker */
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

/* ---- who said it ---- */

static struct umbel_worker *find(const struct cluster *c, pid_t pid)
{
	struct umbel_worker *w;

	TAILQ_FOREACH (w, &c->workers, link)
		if (w->pid == pid)
			return w;
	return NULL;
}

/* Of who has left its family, only the group is left to tell. */
static struct umbel_worker *find_sender(const struct cluster *c, pid_t pid)
{
	struct umbel_worker *w = NULL;
	pid_t group = getpgid(pid), each = pid, any;

	for (int i = 0; i < ANCESTORS && each > 1 && !w; i++) {
		w = find(c, each);
		if (!w && !proc_family(each, &each, &any))
			break;
	}
	return w ? w : group > 1 ? find(c, group) : NULL;
}

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

/* ---- the socket ---- */

static pid_t sender_of(struct msghdr *h)
{
	struct ucred credentials;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&credentials, CMSG_DATA(c), sizeof(credentials));
			return credentials.pid; /* 0: of another pid namespace */
		}
	return 0;
}

/* False: there is nothing more. */
static bool take_one(struct cluster *c)
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
	ssize_t n = recvmsg(c->notify.fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct notify_message m;
	struct umbel_worker *w;
	pid_t pid;

	if (n < 0)
		return errno == EINTR;
	pid = h.msg_flags & MSG_TRUNC ? 0 : sender_of(&h);
	if (pid <= 0 || notify_parse(text, (size_t)n, &m) < 0)
		return true;
	w = find_sender(c, pid);
	if (w)
		act(w, &m);
	return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct cluster *c = poll->data;

	for (int i = 0; i < AT_ONCE && take_one(c); i++)
		;
}

/* A name that the kernel chooses, of a namespace without files: nothing is left behind. */
static int bind_anywhere(struct notify *n)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = sizeof(address.sun_family);

	if (bind(n->fd, (struct sockaddr *)&address, length) < 0)
		return -errno;
	length = sizeof(address);
	if (getsockname(n->fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	length -= (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1;
	snprintf(n->variable, sizeof(n->variable), "NOTIFY_SOCKET=@%.*s", (int)length, address.sun_path + 1);
	return 0;
}

int notify_open(struct cluster *c)
{
	struct notify *n = &c->notify;
	int on = 1, err;

	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0)
		return -errno;
	err = setsockopt(n->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ? -errno : bind_anywhere(n);
	err = err ? err : uv_poll_init(&c->loop, &n->poll, n->fd);
	if (err) {
		fd_close(&n->fd);
		return err;
	}
	n->poll.data = c;
	uv_poll_start(&n->poll, UV_READABLE, on_readable);
	return 0;
}

void notify_close(struct cluster *c)
{
	uv_close((uv_handle_t *)&c->notify.poll, NULL);
	fd_close(&c->notify.fd);
}
