/* channel: lines with descriptors over a unix stream socket, both ways, never blocking, everything
 * bounded. Used by both roles and by the control socket. Knows nothing of what the lines say, and
 * nothing of an event loop: the owner polls channel->fd and calls channel_read(), channel_flush().
 *
 * Descriptors: one that comes in waits in a FIFO until the line that says it carries one takes it
 * (on a stream it may arrive with the tail of the line before, unix(7)). One that goes out has a
 * sendmsg() of its own together with its line: Node's reader mixes them up otherwise
 * (docs/PROTOCOL.md, "Descriptors"). */
#ifndef UMBEL_WIRE_CHANNEL_H
#define UMBEL_WIRE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#define CHANNEL_MAX_FDS 64 /* descriptors waiting for their lines; more is a breach */

struct channel_chunk;
TAILQ_HEAD(channel_chunks, channel_chunk);

struct channel {
	int fd;             /* -1: closed */
	size_t max_message; /* bytes of a line either way */
	size_t max_queue;   /* bytes waiting to go out */

	char *in;        /* what was read and not taken: [in_start, in_end) */
	size_t in_start, in_end, in_size;
	size_t in_seen;  /* [in_start, in_seen) has no line feed */
	int in_fds[CHANNEL_MAX_FDS];
	unsigned in_fd_count;

	struct channel_chunks out;
	size_t out_bytes;
	unsigned out_fds; /* descriptors not sent yet */
};

/* Takes fd, which is made non-blocking. */
void channel_open(struct channel *c, int fd, size_t max_message, size_t max_queue);
void channel_close(struct channel *c); /* twice is fine */

/* One recvmsg(). Bytes read; 0: end of file; -EAGAIN; -ENOMEM; -EMFILE too many descriptors; or another
 * -errno of recvmsg(). */
int channel_read(struct channel *c);

/* The next whole line, without its line feed, NUL-terminated in place, valid until the next call on
 * the channel. 1: there is one; 0: not yet; -EMSGSIZE: longer than max_message. */
int channel_next_line(struct channel *c, char **line, size_t *len);

int channel_take_fd(struct channel *c); /* the oldest descriptor waiting, or -1 */

/* Call when channel_next_line() said 0: descriptors that belong to no line are closed. */
void channel_drop_strays(struct channel *c);

enum {
	CHANNEL_URGENT = 1,  /* max_queue does not count: for internal messages, which are few */
	CHANNEL_LEND_FD = 2, /* fd stays the caller's, who keeps it open until it is sent */
};

/* Queues text[len] as one line (without line feed; it is added, and line breaks inside become spaces).
 * fd: -1, or taken on success and closed once sent. flags: the above.
 * 0, -EMSGSIZE, -EAGAIN, -ENOMEM, -EPIPE. Nothing is written before channel_flush(). */
int channel_send(struct channel *c, const char *text, size_t len, int fd, unsigned flags);

/* 0: all is out; 1: the socket is full, call again when it is writable; -errno: it is broken. */
int channel_flush(struct channel *c);

static inline bool channel_is_open(const struct channel *c)
{
	return c->fd >= 0;
}

static inline bool channel_has_output(const struct channel *c)
{
	return c->out_bytes > 0;
}

#endif
