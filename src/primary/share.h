/* share: one listener and those who serve it, and the way of each connection to one of them. */
#ifndef UMBEL_PRIMARY_SHARE_H
#define UMBEL_PRIMARY_SHARE_H

#include "net/listener.h"
#include "primary/refusals.h"

#include <stdint.h>
#include <sys/queue.h>

struct cluster;
struct json_t;
struct umbel_worker;

struct subscription {
	struct umbel_worker *worker;
	uint64_t handed;
	uint64_t skipped; /* times it was passed over in the rotation */
};

/* A connection that was accepted and is nobody's: its worker died or refused it. */
struct pending {
	int fd;
	bool nonblocking;
	struct refusals *refusals;
};

struct share {
	TAILQ_ENTRY(share) link;
	struct cluster *cluster;
	struct listener listener;
	uv_timer_t orphan; /* runs while nobody serves it, but a successor is expected */
	char *key, *key_json;
	char *address;     /* "tcp://[::]:8000" */
	struct json_t *data;
	int number; /* in lanes, 0..255; -1: none left, connections go by the channel */
	uint32_t closed_by; /* id of the last worker, which closed its server; 0: it died, or somebody serves it */
	bool is_lent; /* the workers have the socket, and nothing is handed over */
	bool waiting; /* connections may be there, but nobody could take one */
	unsigned open_handles;

	struct subscription *seats;
	unsigned seat_count, seat_size;
	unsigned last; /* seat of the last choice */
	struct pending *pending;
	unsigned pending_count, pending_size;
};

/* Binds. Takes the key on success; 0 or -errno as listener_open(). */
int share_open(struct cluster *c, char *key, const struct socket_wish *wish, bool is_lent,
	       struct json_t *data, struct share **ret);
void share_close(struct share *s); /* pending connections too */

int share_add(struct share *s, struct umbel_worker *w); /* the last seat; 0 or -ENOMEM */
void share_remove(struct share *s, unsigned seat);
int share_seat_of(const struct share *s, const struct umbel_worker *w); /* -1: none */

/* Nobody serves it, but a successor is expected: the kernel queues what comes, for a while. */
void share_wait_for_successor(struct share *s, unsigned ms);

/* Hands over what waits, as far as somebody has room. */
void share_dispatch(struct share *s);

/* An accepted connection comes back; fd and refusals are taken. s NULL: nobody serves it any more. */
void share_give_back(struct share *s, int fd, bool nonblocking, struct refusals *refusals);

#endif
