/* share: one listener and those who serve it, and the way of each connection to one of them. */
#ifndef UMBEL_SHARE_SHARE_H
#define UMBEL_SHARE_SHARE_H

#include "net/listener.h"
#include "share/policy.h"
#include "share/refusals.h"
#include "share/sides.h"
#include "share/steering.h"
#include "umbel.h"

#include <stdint.h>
#include <sys/queue.h>

struct sharing;
struct json_t;
struct receiver;

struct parked;
TAILQ_HEAD(parked_list, parked); /* chooser.h */

struct subscription {
	struct receiver *receiver;
	uint64_t handed;
	uint64_t skipped; /* times it was passed over in the rotation */
	uint64_t refused; /* connections that it gave back */
	bool accepts;     /* by itself, and takes nothing from us */
	bool told;        /* it listens: it may say so again and again */
};

/* A connection that was accepted and is nobody's: its worker died or refused it. */
struct pending {
	int fd;
	bool nonblocking;
	struct refusals *refusals;
	bool chosen;     /* the user's chooser has spoken */
	uint32_t wanted; /* its word: a worker's id; 0: none */
};

struct share {
	TAILQ_ENTRY(share) link;
	struct sharing *sharing;
	struct listener listener;
	uv_timer_t orphan; /* runs while nobody serves it, but a successor is expected */
	char *key, *key_json;
	char *address;     /* "tcp://[::]:8000" */
	struct json_t *data;
	int number; /* in lanes, 0..255; -1: none left, connections go by the channel */
	uint32_t closed_by; /* id of the last worker, which closed its server; 0: it died, or somebody serves it */
	enum share_form form;
	enum umbel_policy policy;
	struct socket_wish wish; /* it was opened with */
	struct sides sides;
	struct steering steering;
	bool closed;
	bool is_offered; /* opened for workers that find it at their start; nobody has asked for it (activation.h) */
	bool is_deaf; /* its door: there is nobody yet who could take what comes there */
	bool accept_alone; /* who came last accepts by itself; of programs always */
	bool was_own; /* a program has opened a socket of it itself */
	bool waiting; /* connections may be there, but nobody could take one */
	bool refused; /* by a lane, for want of something: the timer of the listener tries again, and nobody before */
	unsigned open_handles;

	struct subscription *seats;
	unsigned seat_count, seat_size;
	uint64_t served_ms; /* since when somebody has a seat, of uv_now() */
	unsigned last; /* seat of the last choice */
	struct pending *pending;
	unsigned pending_count, pending_size;
	umbel_chooser *chooser; /* the user's, or NULL */
	void *chooser_data;
	struct parked_list parked; /* until it may be called */
	unsigned parked_count;
};

/* Binds. Takes the key on success; 0 or -errno as listener_open(). */
int share_open(struct sharing *sharing, char *key, const struct socket_wish *wish, enum share_form form,
	       enum umbel_policy policy, struct json_t *data, struct share **ret);
int share_listen(struct share *s); /* one that was only bound (wish.is_bound_only). In sides.c. 0 or -errno */
void share_close(struct share *s); /* pending connections too */
void share_unref(struct share *s); /* one of its handles is closed */
bool share_accepts(const struct share *s); /* the primary does */

int share_add(struct share *s, struct receiver *r); /* the last seat; 0 or -ENOMEM */
void share_remove(struct share *s, unsigned seat);
int share_seat_of(const struct share *s, const struct receiver *r); /* -1: none */

/* Nobody serves it, but a successor is expected: the kernel queues what comes, for a while. */
void share_wait_for_successor(struct share *s, unsigned ms);

/* Hands over what waits, as far as somebody has room. */
void share_dispatch(struct share *s);
void share_on_ready(struct share *s); /* the same, when the loop says so */

/* An accepted connection waits for its turn again, with what the chooser said. Taken. */
void share_put(struct share *s, struct pending p);

/* An accepted connection comes back; fd and refusals are taken. s NULL: nobody serves it any more. */
void share_give_back(struct share *s, int fd, bool nonblocking, struct refusals *refusals);

#endif
