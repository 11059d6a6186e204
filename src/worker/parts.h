/* parts: what the files of the worker's side share: the state of struct self and its addresses.
 *
 *     self.c     its life: opening, the loop, leaving
 *     talk.c     what it says to the primary and hears from it
 *     serving.c  its addresses and their connections
 */
#ifndef UMBEL_WORKER_PARTS_H
#define UMBEL_WORKER_PARTS_H

#include "base/address.h"
#include "wire/channel.h"
#include "wire/node.h"
#include "worker/self.h"

#include <stdatomic.h>
#include <sys/queue.h>

/* In the order of a life; drawn in docs/ARCHITECTURE.md. */
enum self_state {
	SELF_SERVING,
	SELF_DRAINING, /* nothing new; what was served is being finished */
	SELF_OVER,
};

enum source { SOURCE_CHANNEL, SOURCE_LANE, SOURCE_WAKE, SOURCE_TIMER, SOURCE_SIGNALS };

/* An address that is served, or was until umbel_unlisten(): what is still in the lane is served too. */
struct listen {
	TAILQ_ENTRY(listen) link;
	char *text;
	struct address address;
	umbel_serve *f;
	void *data;
	int64_t query; /* seq of the question that is not answered; -1 */
	char *key;     /* NULL until answered */
	int lane;      /* its number there; -1: connections come as newconn */
	bool closed;
};

struct self {
	struct umbel *umbel;
	struct events *events;
	struct reason *reason;
	enum self_state state;
	bool wants_writable, watches_output, watches_lane;
	int epoll, wake, timer, signals;
	struct channel channel;
	int lane;
	uint32_t seq, id;
	int slot;
	long grace_ms; /* for what is served when the primary is gone */
	bool waits_to_be_ready; /* the primary knows that listening is not enough */
	bool libumbel_primary; /* it announced the channel as UMBEL_CHANNEL, or gave us a lane */
	unsigned unacked;      /* descriptors sent */
	int64_t leave_seq; /* of exitedAfterDisconnect, not yet answered; -1 */
	TAILQ_HEAD(, listen) listens;
	atomic_int active;      /* served and not done */
	atomic_int in_done;     /* threads that are in self_done() */
	atomic_bool woken;      /* by the user */
	atomic_bool wants_idle; /* active == 0 is waited for */
};

/* ---- self.c ---- */

int self_watch(struct self *s, int operation, int fd, enum source source, unsigned events);
void self_part(struct self *s); /* closes our end of the channel */
void self_on_channel_end(struct self *s);
void self_on_leave_answered(struct self *s);

/* ---- talk.c ---- */

void talk_send(struct self *s, char *text); /* an internal message; takes the text, NULL: no memory */
void talk_flush(struct self *s);
void talk_on_channel(struct self *s);

/* ---- serving.c ---- */

void serving_on_lane(struct self *s);
void serving_on_newconn(struct self *s, const struct node_message *m, int *fd); /* fd -1 when taken */
void serving_on_reply(struct self *s, struct listen *l, const struct node_message *m, bool has_fd);
void serving_stop(struct self *s, struct listen *l);
void serving_expect_no_answer(struct self *s); /* the primary answers no question any more (as Node) */
void serving_free(struct listen *l);

#endif
