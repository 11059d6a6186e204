#include "output.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	QUEUE_BYTES = 1 << 20, /* more than that waiting, and the workers' pipes are not read */
	LINE_BYTES = 1 << 20,  /* a longer line comes out in pieces */
	READ_BYTES = 65536,
	LAST_WORDS_MS = 1000,
	PREFIX_MOST = 32,
};

struct worker_pipe {
	TAILQ_ENTRY(worker_pipe) link;
	struct output *to;
	struct worker_pipe **owner;
	struct tail *tail;
	uv_poll_t poll;
	int fd;
	char *line;
	size_t len, size;
	char prefix[PREFIX_MOST];
};

struct output {
	uv_loop_t *loop;
	uv_poll_t poll;
	int fd;
	bool is_file;   /* cannot be polled, and never makes us wait */
	bool is_socket;
	bool is_terminal;
	bool waiting, dead;
	output_gone *gone;
	void *data;
	char *queue;
	size_t start, end, size;
	TAILQ_HEAD(, worker_pipe) pipes;
};

static void pipes_pause(struct output *o, bool pause);

static void on_output(uv_poll_t *poll, int status, int events);

static void watch(struct output *o, bool writable)
{
	o->waiting = writable;
	if (!o->is_file && !o->dead)
		uv_poll_start(&o->poll, UV_DISCONNECT | (writable ? UV_WRITABLE : 0), on_output);
}

static void die(struct output *o)
{
	if (o->dead)
		return;
	o->dead = true;
	o->start = o->end = 0;
	if (!o->is_file)
		uv_poll_stop(&o->poll);
	o->gone(o->data);
}

static ssize_t write_some(struct output *o)
{
	size_t len = o->end - o->start;

	if (o->is_socket)
		return send(o->fd, o->queue + o->start, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(o->fd, o->queue + o->start, len);
}

static void flush(struct output *o)
{
	bool was_full = o->end - o->start > QUEUE_BYTES;

	while (!o->dead && o->start < o->end) {
		ssize_t n = write_some(o);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			die(o);
		else
			o->start += (size_t)n;
	}
	if (o->start == o->end)
		o->start = o->end = 0;
	if (o->waiting != (o->start < o->end))
		watch(o, o->start < o->end);
	if (was_full && o->end - o->start <= QUEUE_BYTES)
		pipes_pause(o, false);
}

static void on_output(uv_poll_t *poll, int status, int events)
{
	struct output *o = poll->data;

	/* An error condition on the writing end: nobody reads any more. */
	if (status < 0 || events & UV_DISCONNECT)
		die(o);
	else
		flush(o);
}

static int reserve(struct output *o, size_t len)
{
	char *more;
	size_t size = o->size ? o->size : 4096;

	if (o->start > 0) {
		memmove(o->queue, o->queue + o->start, o->end - o->start);
		o->end -= o->start;
		o->start = 0;
	}
	while (size - o->end < len)
		size *= 2;
	if (size == o->size)
		return 0;
	more = realloc(o->queue, size);
	if (!more)
		return -ENOMEM;
	o->queue = more;
	o->size = size;
	return 0;
}

static void append(struct output *o, const char *text, size_t len)
{
	if (o->dead || reserve(o, len) < 0)
		return;
	memcpy(o->queue + o->end, text, len);
	o->end += len;
}

void output_write(struct output *o, const char *text, size_t len)
{
	append(o, text, len);
	flush(o);
}

void output_printf(struct output *o, const char *format, ...)
{
	char text[8192 + PATH_MAX];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n > 0)
		output_write(o, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

bool output_is_terminal(const struct output *o)
{
	return o->is_terminal;
}

/* A description of our own, because O_NONBLOCK on an inherited one would be everybody's. */
static void open_own(struct output *o, int fd)
{
	char path[32];
	int type;
	socklen_t size = sizeof(type);

	o->is_terminal = isatty(fd);
	o->is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	o->fd = o->is_socket ? -1 : open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_APPEND);
	if (o->fd < 0)
		o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

struct output *output_open(uv_loop_t *loop, int fd, output_gone *gone, void *data)
{
	struct output *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	TAILQ_INIT(&o->pipes);
	o->loop = loop;
	o->gone = gone;
	o->data = data;
	open_own(o, fd);
	o->is_file = uv_poll_init(loop, &o->poll, o->fd) < 0;
	if (o->is_file) {
		/* A regular file, /dev/null: through the inherited description, whose place it keeps. */
		fd_close(&o->fd);
		o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	}
	o->poll.data = o;
	watch(o, false);
	return o;
}

static void on_output_closed(uv_handle_t *handle)
{
	struct output *o = handle->data;

	free(o->queue);
	free(o);
}

void output_close(struct output *o)
{
	uint64_t until = uv_hrtime() / 1000000 + LAST_WORDS_MS;

	while (!o->dead && o->start < o->end) {
		struct pollfd p = {.fd = o->fd, .events = POLLOUT};
		uint64_t now = uv_hrtime() / 1000000;

		if (now >= until || poll(&p, 1, (int)(until - now)) <= 0)
			break;
		flush(o);
	}
	o->gone = NULL;
	o->dead = true;
	if (!o->is_file)
		uv_close((uv_handle_t *)&o->poll, on_output_closed);
	fd_close(&o->fd);
	if (o->is_file)
		on_output_closed((uv_handle_t *)&o->poll);
}

/* ---- workers' pipes ---- */

static size_t plain_length(const char *text, size_t len)
{
	size_t n = 0;

	while (n < len && text[n] != '\r' && text[n] != '\033')
		n++;
	return n;
}

/* On a terminal a worker's ESC and CR would be orders to it. */
static void append_escaped(struct output *o, const char *text, size_t len)
{
	const char *end = text + len;

	while (text < end) {
		size_t plain = plain_length(text, (size_t)(end - text));

		append(o, text, plain);
		text += plain;
		if (text < end)
			append(o, *text++ == '\r' ? "\\r" : "\\e", 2);
	}
}

static void emit(struct worker_pipe *p, const char *text, size_t len)
{
	append(p->to, p->prefix, strlen(p->prefix));
	if (p->to->is_terminal)
		append_escaped(p->to, text, len);
	else
		append(p->to, text, len);
	append(p->to, "\n", 1);
	if (p->tail)
		tail_add(p->tail, text, len);
}

static void emit_lines(struct worker_pipe *p)
{
	char *from = p->line, *end = p->line + p->len, *feed;

	while ((feed = memchr(from, '\n', (size_t)(end - from)))) {
		emit(p, from, (size_t)(feed - from));
		from = feed + 1;
	}
	p->len = (size_t)(end - from);
	memmove(p->line, from, p->len);
	if (p->len >= LINE_BYTES) {
		emit(p, p->line, p->len);
		p->len = 0;
	}
	flush(p->to);
}

/* 1: there may be more, 0: its end, -EAGAIN: nothing now. */
static int read_some(struct worker_pipe *p)
{
	ssize_t n;

	if (p->size - p->len < READ_BYTES) {
		size_t size = p->len + 2 * READ_BYTES;
		char *more = realloc(p->line, size);

		if (!more)
			return -EAGAIN;
		p->line = more;
		p->size = size;
	}
	n = read(p->fd, p->line + p->len, READ_BYTES);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
	p->len += (size_t)n;
	emit_lines(p);
	return n > 0;
}

static void on_pipe(uv_poll_t *poll, int status, int events)
{
	struct worker_pipe *p = poll->data;

	if (read_some(p) == 0)
		pipe_close(p);
	else if (p->to->end - p->to->start > QUEUE_BYTES)
		pipes_pause(p->to, true);
}

static void pipes_pause(struct output *o, bool pause)
{
	struct worker_pipe *p;

	TAILQ_FOREACH (p, &o->pipes, link) {
		if (pause)
			uv_poll_stop(&p->poll);
		else
			uv_poll_start(&p->poll, UV_READABLE, on_pipe);
	}
}

void pipe_rename(struct worker_pipe *p, const char *prefix)
{
	if (p)
		snprintf(p->prefix, sizeof(p->prefix), "%s", prefix);
}

struct worker_pipe *pipe_open(struct output *to, int fd, const char *prefix, struct tail *tail,
			      struct worker_pipe **owner)
{
	struct worker_pipe *p = calloc(1, sizeof(*p));

	if (!p || uv_poll_init(to->loop, &p->poll, fd) < 0) {
		free(p);
		fd_close(&fd);
		return NULL;
	}
	pipe_rename(p, prefix);
	p->to = to;
	p->owner = owner;
	p->tail = tail;
	p->fd = fd;
	p->poll.data = p;
	fd_set_nonblocking(fd, true);
	TAILQ_INSERT_TAIL(&to->pipes, p, link);
	uv_poll_start(&p->poll, UV_READABLE, on_pipe);
	return p;
}

void pipe_drain(struct worker_pipe *p)
{
	int r = 1;

	/* Bounded: a grandchild may go on writing for ever. */
	for (int i = 0; p && i < 16 && r > 0; i++)
		r = read_some(p);
	if (r == 0)
		pipe_close(p);
}

static void on_pipe_closed(uv_handle_t *handle)
{
	struct worker_pipe *p = handle->data;

	free(p->line);
	free(p);
}

void pipe_close(struct worker_pipe *p)
{
	if (!p)
		return;
	if (p->len > 0)
		emit(p, p->line, p->len); /* a last line without its end */
	flush(p->to);
	if (p->owner)
		*p->owner = NULL;
	TAILQ_REMOVE(&p->to->pipes, p, link);
	uv_close((uv_handle_t *)&p->poll, on_pipe_closed);
	fd_close(&p->fd);
}
