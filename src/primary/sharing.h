/* sharing: which worker serves which address, and the way of each connection to one of them. A share
 * is one listener and those who serve it. */
#ifndef UMBEL_PRIMARY_SHARING_H
#define UMBEL_PRIMARY_SHARING_H

#include "net/listener.h"
#include "wire/node.h"

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
	unsigned refusals;
	uint32_t refused_by; /* id of the last; 0: nobody */
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
	bool waiting; /* connections may be there, but nobody could take one */
	unsigned open_handles;

	struct subscription *seats;
	unsigned seat_count, seat_size;
	unsigned last; /* seat of the last choice */
	struct pending *pending;
	unsigned pending_count, pending_size;
};

struct sharing {
	TAILQ_HEAD(, share) shares;
	uint8_t numbers[32]; /* bitmap of lane numbers in use */
	uint8_t next_number;
	unsigned waiting;    /* shares that wait for room */
	int lanes;           /* epoll set of all lanes' ends, edge-triggered: a full one has room again */
	uv_poll_t lanes_poll;
	bool lanes_watched;
};

int sharing_open(struct cluster *c);
void sharing_close(struct cluster *c); /* every share too */

/* A worker's queryServer. The reply goes out in any case; ret gets the share, or NULL and the error. */
int sharing_query(struct cluster *c, struct umbel_worker *w, const struct node_message *m);

/* The share behind a worker's `listening`, or NULL: it bound that itself. */
struct share *sharing_find_listening(struct cluster *c, const struct umbel_worker *w,
				     const struct node_query *q);

void sharing_leave(struct cluster *c, struct umbel_worker *w, const char *key); /* server.close() */
void sharing_leave_all(struct cluster *c, struct umbel_worker *w);

/* An accepted connection comes back; fd is taken. share NULL: nobody serves it any more. */
void sharing_give_back(struct cluster *c, struct share *share, int fd, bool nonblocking,
		       unsigned refusals, uint32_t refused_by);
struct share *sharing_by_number(struct cluster *c, uint8_t number);

void sharing_resume(struct cluster *c); /* somebody has room again */
int sharing_watch_lane(struct cluster *c, int primary_end); /* from its opening to its close */

#endif
