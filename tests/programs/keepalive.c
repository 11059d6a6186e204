/* A small HTTP/1.1 server with connections that stay open: one epoll set for its clients and umbel_fd().
 * Answers every GET with its pid.
 *
 *     keepalive PORT [DELAY_MS [CRASH_MS]]     DELAY_MS: from a request to its answer (0)
 *                                              CRASH_MS: how long after its start it aborts (never)
 *
 * Told to drain it does what a server has to do so that no client sees an error: each answer says
 * `Connection: close` from then on, and connections without a request live on for IDLE_MS, because their
 * next request may be on its way; only then it closes them.
 *
 * With TORTURE_LOG, a directory, it counts in the file TORTURE_LOG/PID how many connections it took and
 * how many it finished, two 64-bit numbers. The file is mapped: it says the truth after a SIGKILL too. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <umbel.h>
#include <unistd.h>

enum {
	IDLE_MS = 1500,
	REQUEST_MAX = 4096,
};

struct connection {
	TAILQ_ENTRY(connection) link, due_link;
	int fd;
	int64_t due_ms; /* when to answer; 0: nothing is to be answered */
	bool wants_close;
	size_t len;
	char request[REQUEST_MAX + 1];
};
TAILQ_HEAD(connections, connection);

struct tally {
	_Atomic uint64_t taken, finished;
};

static struct tally nobody_asked, *tally = &nobody_asked;
static uint64_t announced; /* connections received that serve() has not seen yet */

static struct umbel *umbel;
static int epoll;
static int64_t delay_ms, crash_ms;
static struct connections all = TAILQ_HEAD_INITIALIZER(all);
static struct connections due = TAILQ_HEAD_INITIALIZER(due); /* the delay is the same: in order */
static bool draining;
static int64_t idle_until_ms;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "keepalive: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- what was taken ---- */

static void open_tally(const char *directory)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%d", directory, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*tally)) < 0)
		die(path);
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (tally == MAP_FAILED)
		die(path);
	close(fd);
}

static unsigned descriptors_in(struct msghdr *m)
{
	struct cmsghdr *h = CMSG_FIRSTHDR(m);

	if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
		return 0;
	return (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
}

/* Stands in front of the C library's, for libumbel too: what a lane brings is taken at once, all of it,
 * and serve() sees one connection after the other. A lane message has room for 8 bytes; the channel's
 * descriptors, in longer ones, are none of our business. */
ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t n = syscall(SYS_recvmsg, fd, m, flags);
	unsigned count = n > 0 && m->msg_iovlen == 1 && m->msg_iov->iov_len <= 8 ? descriptors_in(m) : 0;

	tally->taken += count;
	announced += count;
	return n;
}

/* The same for what the kernel steers here, and libumbel accepts. */
int accept4(int fd, struct sockaddr *from, socklen_t *from_len, int flags)
{
	int client = (int)syscall(SYS_accept4, fd, from, from_len, flags);

	if (client >= 0) {
		tally->taken++;
		announced++;
	}
	return client;
}

/* ---- connections ---- */

static void finish(struct connection *c)
{
	if (c->due_ms)
		TAILQ_REMOVE(&due, c, due_link);
	TAILQ_REMOVE(&all, c, link);
	/* This first: while somebody else has a copy a close alone leaves it in the set. */
	epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
	tally->finished++; /* before anybody can be given its place */
	umbel_done(umbel, c->fd);
	free(c);
}

static void serve(struct umbel *u, int fd, void *data)
{
	struct connection *c = calloc(1, sizeof(*c));
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

	if (!c)
		die("calloc");
	if (announced)
		announced--;
	else
		tally->taken++; /* it came another way: under a Node primary */
	c->fd = fd;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	TAILQ_INSERT_TAIL(&all, c, link);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

/* The whole request, from c->request to its empty line, is taken out. */
static bool take_request(struct connection *c)
{
	char *end = strstr(c->request, "\r\n\r\n");

	if (!end)
		return false;
	end += 4;
	end[-2] = '\0'; /* what follows is the next one's */
	c->wants_close = strstr(c->request, " HTTP/1.0\r\n") ||
			 strcasestr(c->request, "\r\nconnection: close\r\n");
	c->len -= (size_t)(end - c->request);
	memmove(c->request, end, c->len + 1);
	c->due_ms = now_ms() + delay_ms;
	TAILQ_INSERT_TAIL(&due, c, due_link);
	return true;
}

/* False: the connection is gone. */
static bool answer(struct connection *c)
{
	bool closes = c->wants_close || draining;
	char body[32], text[256];
	int len;

	len = snprintf(body, sizeof(body), "%d\n", (int)getpid());
	len = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s",
		       len, closes ? "close" : "keep-alive", body);
	TAILQ_REMOVE(&due, c, due_link);
	c->due_ms = 0;
	/* Who does not read such short answers is not worth a queue. */
	if (send(c->fd, text, (size_t)len, MSG_NOSIGNAL) == len && !closes)
		return true;
	finish(c);
	return false;
}

/* One request at a time: the next one is looked at when this one is answered. */
static void next_request(struct connection *c)
{
	while (!c->due_ms && take_request(c))
		if (delay_ms || !answer(c))
			return;
}

static void on_readable(struct connection *c)
{
	ssize_t n = recv(c->fd, c->request + c->len, REQUEST_MAX - c->len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* its end; or a request longer than any of ours */
		finish(c);
		return;
	}
	c->len += (size_t)n;
	c->request[c->len] = '\0';
	next_request(c);
}

static void answer_due(int64_t now)
{
	struct connection *c;

	while ((c = TAILQ_FIRST(&due)) && c->due_ms <= now)
		if (answer(c))
			next_request(c);
}

/* ---- leaving ---- */

static void on_drain(struct umbel *u, const struct umbel_event *e, void *data)
{
	draining = true;
	idle_until_ms = now_ms() + IDLE_MS;
}

static void close_idle(void)
{
	struct connection *c = TAILQ_FIRST(&all), *next;

	for (; c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (!c->due_ms && c->len == 0)
			finish(c);
	}
}

static void on_signal(int sig)
{
	umbel_wake(umbel); /* umbel_stop() is not for signal handlers */
}

static void on_woken(struct umbel *u, const struct umbel_event *e, void *data)
{
	umbel_stop(u);
}

/* ---- the loop ---- */

static int timeout_ms(int64_t now)
{
	int64_t at = INT64_MAX;

	if (!TAILQ_EMPTY(&due))
		at = TAILQ_FIRST(&due)->due_ms;
	if (draining && !TAILQ_EMPTY(&all) && idle_until_ms > now && idle_until_ms < at)
		at = idle_until_ms;
	if (crash_ms && crash_ms < at)
		at = crash_ms;
	if (at == INT64_MAX)
		return -1;
	return at > now ? (int)(at - now) : 0;
}

static int loop(void)
{
	struct epoll_event events[64], ours = {.events = EPOLLIN, .data.ptr = NULL};
	int count, r = 1;

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, umbel_fd(umbel), &ours) < 0)
		die("epoll_ctl");
	while (r == 1) {
		bool asked = false;

		count = epoll_wait(epoll, events, 64, timeout_ms(now_ms()));
		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++)
			if (events[i].data.ptr)
				on_readable(events[i].data.ptr);
			else
				asked = true;
		answer_due(now_ms());
		if (draining && now_ms() >= idle_until_ms)
			close_idle();
		if (crash_ms && now_ms() >= crash_ms)
			abort();
		if (asked)
			r = umbel_dispatch(umbel);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct sigaction stop = {.sa_handler = on_signal};
	char address[64];
	int err;

	if (argc < 2) {
		fprintf(stderr, "usage: keepalive PORT [DELAY_MS [CRASH_MS]]\n");
		return 2;
	}
	snprintf(address, sizeof(address), "tcp://:%s", argv[1]);
	delay_ms = argc > 2 ? atoi(argv[2]) : 0;
	crash_ms = argc > 3 ? now_ms() + atoi(argv[3]) : 0;
	if (getenv("TORTURE_LOG"))
		open_tally(getenv("TORTURE_LOG"));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	err = umbel_open(argc, argv, &umbel);
	if (!err && umbel_is_primary(umbel)) {
		fprintf(stderr, "keepalive: to be started by umbel run\n");
		umbel_close(umbel);
		return 2;
	}
	if (!err) {
		sigaction(SIGTERM, &stop, NULL);
		umbel_on(umbel, UMBEL_DRAIN, on_drain, NULL);
		umbel_on(umbel, UMBEL_WOKEN, on_woken, NULL);
		err = umbel_listen(umbel, address, serve, NULL);
	}
	if (!err)
		err = loop();
	if (err)
		fprintf(stderr, "keepalive: %s\n", umbel_reason(umbel));
	signal(SIGTERM, SIG_IGN); /* the handler's umbel is gone now */
	umbel_close(umbel);
	close(epoll);
	return err != 0;
}
