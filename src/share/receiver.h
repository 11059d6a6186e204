/* receiver: a worker as the addresses that it serves see it: who it is, its channel, whether it takes connections, what
 * it was given and has in hand. Each worker has one inside (umbel_worker.receiver); what becomes of the process nobody
 * knows here. */
#ifndef UMBEL_SHARE_RECEIVER_H
#define UMBEL_SHARE_RECEIVER_H

#include "net/least.h"
#include "wire/channel.h"
#include "wire/lane.h"
#include "wire/scoreboard.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct handoff;
struct sharing;
struct umbel_worker;
TAILQ_HEAD(handoffs, handoff);

/* How fast it is, for UMBEL_LEAST: looked at now and then. */
struct pace {
	uint64_t sampled_ms;     /* of uv_now(); 0: never */
	uint64_t mean_us;        /* of those who say: time one connection took; 0: unknown */
	struct least_sample sum; /* the same: as last seen */
	uint64_t grew_ms;        /* the same: when it was seen that some were finished */
	uint64_t ticks, cpu;     /* others: as last seen; of the last second */
};

/* What a Node worker says of connections that it was handed since it counts (counting.h). */
struct counting {
	bool asked;
	bool known;     /* it does */
	unsigned open;  /* it has answered `accepted`, and not said that they are over */
	uint64_t since_us; /* it has some, of uv_hrtime(); 0: it has none */
	struct least_sample sum; /* service_us: how long it had some, until since_us */
	bool is_whole; /* it was asked before it had any connection */
};

struct receiver {
	TAILQ_ENTRY(receiver) link, dirty_link;
	struct sharing *sharing;
	struct umbel_worker *worker; /* which has it inside */
	uint32_t id;
	int slot; /* its number; 0: it is a spare, and has none yet */
	pid_t pid;
	bool takes;           /* may be given connections: no successor that has to prove itself, no
			       * predecessor of one on trial */
	bool asked;           /* it, we or the user said: leave */
	bool connected;       /* its end of the channel is open */
	bool is_libumbel;     /* it said so */
	bool has_preload;     /* it said so: Node, and understands NODE_UMBEL_DRAIN */
	bool wants_writable;  /* umbel_send() said -EAGAIN */
	bool dirty;           /* something is to be sent at the end of the turn */
	bool noted_loss;      /* it has lost connections, for want of descriptors */
	uint16_t probe_port;  /* what comes from this loopback port is for it alone; 0: nobody asks whether it is ready */
	uint32_t seq;
	struct channel channel;

	struct handoffs handoffs;
	int unanswered; /* connections among them */
	unsigned unacked_messages; /* of the user, with descriptors, among them */
	uint64_t handed;
	int lane, lane_far;     /* -1: none; our end, and our copy of the worker's */
	unsigned lane_credit;   /* connections that surely have room */
	uint64_t lane_sent;     /* connections */
	unsigned most_active;   /* connections that it has descriptors for, as it says; 0: it does not say */
	struct lane_batch lane_out;
	const struct scoreboard *board; /* NULL: it has none */
	struct pace pace;
	struct counting counting;
};
TAILQ_HEAD(receivers, receiver);

void receiver_init(struct receiver *r, struct sharing *sharing, struct umbel_worker *w);
void receiver_join(struct receiver *r);  /* it is one of sharing->receivers, by id */
void receiver_leave(struct receiver *r); /* not any more */

/* An internal message, sent at the end of the turn; fd and flags as channel_send(). Text NULL: no
 * memory for it, which ends the worker: a promise to it is broken. */
void receiver_send(struct receiver *r, const char *text, size_t len, int fd, unsigned flags);
void receiver_reply(struct receiver *r, char *text); /* the same; takes the text */
void receiver_touch(struct receiver *r); /* what is queued is sent at the end of the turn */

/* It broke the protocol: told as FAILED, and killed. -EPROTO. */
int receiver_breach(struct receiver *r, const char *what);

#endif
