#include "wire/channel.h"

#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* One read takes what the kernel may have queued in one go; libuv uses the same. */
enum { READ_BYTES = 65536, CHUNK_BYTES = 16384, FDS_IN_ONE_READ = 16, CHUNKS_IN_ONE_WRITE = 16 };

struct channel_chunk {
	TAILQ_ENTRY(channel_chunk) link;
	size_t start, end, size;
	int fd;    /* goes with the first byte; -1 */
	bool lent; /* fd is the sender's to close */
	char bytes[];
};

void channel_open(struct channel *c, int fd, size_t max_message, size_t max_queue)
{
	memset(c, 0, sizeof(*c));
	c->fd = fd;
	c->max_message = max_message;
	c->max_queue = max_queue;
	TAILQ_INIT(&c->out);
	fd_set_nonblocking(fd, true);
}

static void chunk_drop_fd(struct channel *c, struct channel_chunk *chunk)
{
	c->out_fds -= chunk->fd >= 0;
	if (chunk->lent)
		fd_steal(&chunk->fd);
	fd_close(&chunk->fd);
}

static void chunk_remove(struct channel *c, struct channel_chunk *chunk)
{
	TAILQ_REMOVE(&c->out, chunk, link);
	chunk_drop_fd(c, chunk);
	free(chunk);
}

void channel_close(struct channel *c)
{
	struct channel_chunk *chunk;

	if (!channel_is_open(c))
		return;
	fd_close(&c->fd);
	while ((chunk = TAILQ_FIRST(&c->out)))
		chunk_remove(c, chunk);
	c->out_bytes = 0;
	fd_close_all(c->in_fds, c->in_fd_count);
	c->in_fd_count = 0;
	free(c->in);
	c->in = NULL;
	c->in_start = c->in_end = c->in_size = c->in_seen = 0;
}

/* ---- in ---- */

static int in_make_room(struct channel *c)
{
	size_t used = c->in_end - c->in_start;

	if (c->in_size - c->in_end >= READ_BYTES)
		return 0;
	if (c->in_start > 0) {
		memmove(c->in, c->in + c->in_start, used);
		c->in_seen -= c->in_start;
		c->in_start = 0;
		c->in_end = used;
	}
	if (c->in_size - used < READ_BYTES) {
		size_t size = c->in_size ? c->in_size * 2 : READ_BYTES + 1;
		char *in;

		while (size - used < READ_BYTES)
			size *= 2;
		in = realloc(c->in, size);
		if (!in)
			return -ENOMEM;
		c->in = in;
		c->in_size = size;
	}
	return 0;
}

/* An idle channel keeps no buffer: a thousand workers would hold 64 KiB each. */
static void in_release_if_empty(struct channel *c)
{
	if (c->in_start < c->in_end || c->in_size <= READ_BYTES + 1)
		return;
	free(c->in);
	c->in = NULL;
	c->in_size = c->in_start = c->in_end = c->in_seen = 0;
}

static int in_take_fds(struct channel *c, struct msghdr *m)
{
	int err = 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		size_t count;
		int fds[FDS_IN_ONE_READ];

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(h), count * sizeof(int));
		for (size_t i = 0; i < count; i++) {
			if (c->in_fd_count < CHANNEL_MAX_FDS) {
				c->in_fds[c->in_fd_count++] = fds[i];
			} else {
				close(fds[i]);
				err = -EMFILE;
			}
		}
	}
	return err;
}

int channel_read(struct channel *c)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_IN_ONE_READ * sizeof(int))];
	} control;
	struct iovec iov;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;
	int err = in_make_room(c);

	if (err)
		return err;
	iov = (struct iovec){c->in + c->in_end, READ_BYTES};
	m.msg_control = control.bytes;
	m.msg_controllen = sizeof(control.bytes);
	do
		n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	c->in_end += (size_t)n;
	/* One that was lost because we are out of them is missed by its line, which is then refused. */
	err = in_take_fds(c, &m);
	return err ? err : (int)n;
}

int channel_next_line(struct channel *c, char **line, size_t *len)
{
	char *from, *end;

	if (c->in_start == c->in_end) {
		c->in_start = c->in_end = c->in_seen = 0;
		in_release_if_empty(c);
		return 0;
	}
	from = c->in + c->in_start;
	end = memchr(c->in + c->in_seen, '\n', c->in_end - c->in_seen);
	c->in_seen = end ? (size_t)(end - c->in) : c->in_end;
	if (c->in_seen - c->in_start > c->max_message)
		return -EMSGSIZE;
	if (!end)
		return 0;
	*end = '\0';
	*line = from;
	*len = (size_t)(end - from);
	c->in_start = c->in_seen = (size_t)(end - c->in) + 1;
	return 1;
}

int channel_take_fd(struct channel *c)
{
	int fd;

	if (c->in_fd_count == 0)
		return -1;
	fd = c->in_fds[0];
	c->in_fd_count--;
	memmove(c->in_fds, c->in_fds + 1, c->in_fd_count * sizeof(int));
	return fd;
}

void channel_drop_strays(struct channel *c)
{
	/* With half a line in the buffer they may be that line's. */
	if (c->in_start < c->in_end)
		return;
	fd_close_all(c->in_fds, c->in_fd_count);
	c->in_fd_count = 0;
}

/* ---- out ---- */

/* The chunk that the next line is appended to. Lines without a descriptor share one, so that many go
 * out in one write; a descriptor begins a chunk of its own and ends it. */
static struct channel_chunk *out_chunk(struct channel *c, size_t bytes, int fd)
{
	struct channel_chunk *last = TAILQ_LAST(&c->out, channel_chunks);
	size_t size = bytes > CHUNK_BYTES || fd >= 0 ? bytes : CHUNK_BYTES;

	if (fd < 0 && last && last->fd < 0 && last->size - last->end >= bytes &&
	    last->size == CHUNK_BYTES)
		return last;
	last = malloc(sizeof(*last) + size);
	if (!last)
		return NULL;
	*last = (struct channel_chunk){.size = size, .fd = -1};
	TAILQ_INSERT_TAIL(&c->out, last, link);
	return last;
}

static void copy_as_line(char *to, const char *text, size_t len)
{
	memcpy(to, text, len);
	for (char *p = to; (p = memchr(p, '\n', len - (size_t)(p - to))); p++)
		*p = ' ';
	to[len] = '\n';
}

int channel_send(struct channel *c, const char *text, size_t len, int fd, unsigned flags)
{
	struct channel_chunk *chunk;

	if (!channel_is_open(c))
		return -EPIPE;
	if (len > c->max_message)
		return -EMSGSIZE;
	/* An empty queue takes any message, or one larger than max_queue could never go. */
	if (!(flags & CHANNEL_URGENT) && c->out_bytes > 0 && c->out_bytes + len > c->max_queue)
		return -EAGAIN;
	chunk = out_chunk(c, len + 1, fd);
	if (!chunk)
		return -ENOMEM;
	copy_as_line(chunk->bytes + chunk->end, text, len);
	chunk->end += len + 1;
	chunk->fd = fd;
	c->out_fds += fd >= 0;
	chunk->lent = flags & CHANNEL_LEND_FD;
	c->out_bytes += len + 1;
	return 0;
}

static ssize_t write_with_fd(int to, struct channel_chunk *chunk)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}}; /* its padding is read too */
	struct iovec iov = {chunk->bytes, chunk->end};
	struct msghdr m = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes),
	};

	control.align = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.align), &chunk->fd, sizeof(int));
	return sendmsg(to, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t write_plain(struct channel *c)
{
	struct iovec iov[CHUNKS_IN_ONE_WRITE];
	struct msghdr m = {.msg_iov = iov};
	struct channel_chunk *chunk;

	TAILQ_FOREACH (chunk, &c->out, link) {
		if (chunk->fd >= 0 || m.msg_iovlen == CHUNKS_IN_ONE_WRITE)
			break;
		iov[m.msg_iovlen++] =
		    (struct iovec){chunk->bytes + chunk->start, chunk->end - chunk->start};
	}
	return sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void out_advance(struct channel *c, size_t written)
{
	struct channel_chunk *chunk;

	c->out_bytes -= written;
	while (written > 0 && (chunk = TAILQ_FIRST(&c->out))) {
		size_t part = chunk->end - chunk->start;

		chunk_drop_fd(c, chunk); /* went with the first byte */
		if (written < part) {
			chunk->start += written;
			return;
		}
		written -= part;
		chunk_remove(c, chunk);
	}
}

int channel_flush(struct channel *c)
{
	struct channel_chunk *chunk;

	while (channel_is_open(c) && (chunk = TAILQ_FIRST(&c->out))) {
		ssize_t n = chunk->fd >= 0 ? write_with_fd(c->fd, chunk) : write_plain(c);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			/* Too many descriptors in flight (unix(7)): passes as the peer reads. */
			if (errno == EAGAIN || errno == ETOOMANYREFS || errno == ENOBUFS)
				return 1;
			return -errno;
		}
		out_advance(c, (size_t)n);
	}
	return 0;
}
