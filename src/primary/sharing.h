/* sharing: which worker serves which address: their questions, their coming and leaving, and who is
 * woken when somebody has room again. What one share does with connections is share.h. */
#ifndef UMBEL_PRIMARY_SHARING_H
#define UMBEL_PRIMARY_SHARING_H

#include "primary/share.h"
#include "wire/node.h"

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

/* A worker's queryServer. The reply goes out in any case; returns its error. */
int sharing_query(struct cluster *c, struct umbel_worker *w, const struct node_message *m);

/* The share behind a worker's `listening`, or NULL: it bound that itself. */
struct share *sharing_find_listening(struct cluster *c, const struct umbel_worker *w,
				     const struct node_query *q);

void sharing_leave(struct cluster *c, struct umbel_worker *w, const char *key); /* server.close() */
void sharing_leave_all(struct cluster *c, struct umbel_worker *w);
void sharing_close_orphans(struct cluster *c); /* addresses that nobody serves: nobody will come */

struct share *sharing_by_number(struct cluster *c, uint8_t number);

void sharing_resume(struct cluster *c);      /* somebody has room again */
void sharing_watch_lanes(struct cluster *c); /* while a share waits, and only then */
int sharing_watch_lane(struct cluster *c, int primary_end); /* from its opening to its close */

#endif
