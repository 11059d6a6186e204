/* parts: what the files of the worker's side share: the state of struct self and its addresses.
 *
 *     self.c     its life: opening, the loop, leaving
 *     talk.c     what it says to the primary and hears from it
 *     sent.c     messages with descriptors, until the primary has them
 *     serving.c  its addresses and their connections
 *     room.c     how many connections it may have
 *     shared.c   sockets that came with the answer: it accepts, or gives them to the program
 */
#ifndef UMBEL_WORKER_PARTS_H
#define UMBEL_WORKER_PARTS_H

#include "base/address.h"
#include "wire/accounts.h"
#include "wire/channel.h"
#include "wire/node.h"
#include "wire/scoreboard.h"
#include "worker/self.h"

#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/resource.h>

/* In the order of a life; drawn in docs/ARCHITECTURE.md. */
enum self_state {
	SELF_SERVING,
	SELF_DRAINING, /* nothing new; what was served is being finished */
	SELF_OVER,
};

enum {
	MAX_REFUSED = 64,
	AGAIN_MS = 100,
};

enum source {
	SOURCE_CHANNEL,
	SOURCE_LANE,
	SOURCE_WAKE,
	SOURCE_TIMER,
	SOURCE_AGAIN,
	SOURCE_SIGNALS,
	SOURCE_SHARED, /* a listening socket; the upper half of the event's number says whose */
};

/* An address that is served, or was until umbel_unlisten(): what is still in the lane is served too. */
struct listen {
	TAILQ_ENTRY(listen) link;
	char *text; /* canonical */
	struct address address;
	umbel_serve *f;
	void *data;
	int64_t query; /* seq of the question that is not answered; -1 */
	char *key;     /* NULL until answered */
	int lane;      /* its number there; -1: connections come as newconn */
	int fd;        /* a socket that listens, ours and the primary's; -1: none. It may have a lane beside it */
	uint32_t number; /* of fd in the epoll set */
	bool watched;    /* fd is in it */
	bool accepts;    /* the program does, from the socket that comes: it takes nothing that is handed over */
	bool both_families; /* udp without a host: IPv6 is asked for, then IPv4 */
	bool closed;
};

struct self {
	struct umbel *umbel;
	struct events *events;
	struct reason *reason;
	enum self_state state;
	bool wants_writable, watches_output, watches_lane, looks_again;
	int epoll, wake, timer, again, signals;
	struct channel channel;
	struct accounts accounts;
	int lane;
	struct scoreboard *_Atomic board; /* what the primary sees of us; NULL: it does not want to */
	uint32_t seq, id, listen_count;
	int slot;
	long grace_ms; /* for what is served when the primary is gone */
	bool waits_to_be_ready; /* the primary knows that listening is not enough */
	bool libumbel_primary; /* it announced the channel as UMBEL_CHANNEL, or gave us a lane */
	TAILQ_HEAD(, sent) sent; /* messages with descriptors */
	unsigned sent_count;
	int64_t refused[MAX_REFUSED]; /* newconns whose descriptor was lost: refused after a while */
	unsigned refused_count;
	int64_t leave_seq; /* of exitedAfterDisconnect, not yet answered; -1 */
	TAILQ_HEAD(, listen) listens;
	bool told_loss;         /* and nothing has come since */
	rlim_t limit;           /* of descriptors, as announced */
	int room;               /* connections, of that; 0: any number */
	atomic_int active;      /* served and not done */
	atomic_int in_done;     /* threads that are in self_done() */
	atomic_bool woken;      /* by the user */
	atomic_bool wants_idle; /* active == 0 is waited for */
};

/* ---- self.c ---- */

int self_watch(struct self *s, int operation, int fd, uint64_t source, unsigned events);
/* In AGAIN_MS: is there a descriptor now for what could not have one, is a socket closed that somebody
 * waits for? */
void self_look_again(struct self *s);
void self_part(struct self *s); /* closes our end of the channel */
void self_on_channel_end(struct self *s);

/* ---- talk.c ---- */

void talk_send(struct self *s, char *text); /* an internal message; takes the text, NULL: no memory */
void talk_flush(struct self *s);
void talk_on_channel(struct self *s);
void talk_tell_closed(struct self *s); /* if the primary waits for that: its sockets that are closed by now */

/* ---- sent.c ---- */

int sent_add(struct self *s, char *text, size_t len, int fd); /* takes both on success; as channel_send() */
int sent_answered(struct self *s, bool arrived);              /* ACK or NACK; -EPROTO: of nothing */
void sent_forget_all(struct self *s);                         /* once the channel is closed */

/* ---- serving.c ---- */

void serving_on_board(struct self *s, int fd); /* the scoreboard has come; without it we do as well */
void serving_on_lane(struct self *s);
void serving_on_newconn(struct self *s, const struct node_message *m, int *fd); /* fd -1 when taken */
/* has_fd: a socket belongs to it; *fd may be -1 all the same, when it was lost on the way. */
void serving_on_reply(struct self *s, struct listen *l, const struct node_message *m, bool has_fd, int *fd);
void serving_serve(struct self *s, struct listen *l, int fd); /* a connection; l may be NULL */
void serving_leave(struct self *s); /* takes nothing new from now on */
void serving_answer_refused(struct self *s);
void serving_expect_no_answer(struct self *s); /* the primary answers no question any more (as Node) */
void serving_free(struct listen *l);

/* ---- room.c ---- */

void room_announce(struct self *s); /* our hello: once, and again when there is more */
void room_on_taken(struct self *s);

/* ---- shared.c ---- */

int shared_take(struct self *s, struct listen *l, int *fd); /* fd -1 when taken; 0 or -errno */
void shared_give(struct self *s, struct listen *l, int *fd); /* to the program, if that is to have it */
void shared_close(struct self *s, struct listen *l);
void shared_on_ready(struct self *s, uint32_t number);
void shared_resume(struct self *s); /* tries again what could not be accepted */

#endif
