/* listener: one listening address in the primary's loop: says when connections wait, accepts them,
 * and is silent while nobody can take one, so that the kernel queues. Knows nothing of workers. */
#ifndef UMBEL_NET_LISTENER_H
#define UMBEL_NET_LISTENER_H

#include "net/socket.h"

#include <stdbool.h>
#include <uv.h>

struct listener;
typedef void listener_ready(struct listener *l); /* connections may wait; call listener_accept() */
typedef void listener_shut(struct listener *l);  /* another process has shut it down: listener_accept() fails */

struct listener {
	uv_poll_t poll;
	uv_timer_t retry; /* out of descriptors or memory: accept fails, but the socket stays readable */
	int fd;
	bool armed;     /* the kernel will tell of the next connection */
	unsigned open_handles;
	struct address address; /* with its real port */
	struct socket_file file; /* of a unix path: unlinked only while it is still ours */
	listener_ready *ready; /* NULL: nothing is accepted here */
	listener_shut *shut;   /* NULL: nobody else has it */
	void (*closed)(struct listener *l); /* after listener_close(): l may be freed */
};

/* 0 and armed (with ready NULL: never; others accept), or -errno as socket_open(). The memory is the
 * caller's until `closed`. */
int listener_open(struct listener *l, uv_loop_t *loop, const struct socket_wish *wish, listener_ready *ready);

/* The same of a socket that is open, which is taken; not armed. Address and file are the caller's to set.
 * shut only if it listens: one that does not hangs up all the time. */
int listener_adopt(struct listener *l, uv_loop_t *loop, int fd, listener_ready *ready, listener_shut *shut);

void listener_watch_shut(struct listener *l, listener_shut *shut); /* from now on; NULL: no more */
void listener_close(struct listener *l, void (*closed)(struct listener *l)); /* unlinks a unix path */

void listener_arm(struct listener *l);
void listener_pause(struct listener *l);
void listener_retry(struct listener *l, unsigned ms); /* paused, and `ready` is called again then */
#define LISTENER_RETRY_MS 100

/* A connection (close-on-exec; non-blocking if asked), or -EAGAIN: none waits, armed again; or another
 * -errno of lacking resources: paused, `ready` is called again after a while. */
int listener_accept(struct listener *l, bool nonblocking);

#endif
