/* handoff: the way of connections to one worker: by its lane, or as newconn by its channel; what it
 * has not answered; and what comes back when it refuses, parts or dies. */
#ifndef UMBEL_SHARE_HANDOFF_H
#define UMBEL_SHARE_HANDOFF_H

#include "share/share.h"

struct node_message;

/* Something sent with a descriptor and not answered: Node's ACK, then, for a connection, `accepted`. */
struct handoff {
	TAILQ_ENTRY(handoff) link;
	struct share *share; /* NULL: it is about none, or its listener is closed */
	int fd;              /* kept until it is acknowledged, a connection until it is accepted; -1 */
	int64_t seq;         /* of the newconn; -1: no connection */
	int64_t query;       /* what is answered with a shared socket; -1: it is none */
	char *text;          /* of a user's message, to be sent again when the descriptor did not arrive; NULL */
	size_t text_len;
	unsigned sent;       /* times */
	bool acked;
	bool is_lane; /* the worker's end of its lane */
	bool is_board; /* its scoreboard */
	struct refusals *refusals;
};

/* A question whose answer it got without the shared socket that belongs to it. */
struct handoff_query {
	struct share *share; /* NULL: it was none */
	int64_t seq;
};

struct handoff *handoff_add(struct receiver *r); /* no connection yet; NULL: no memory */
void handoff_remove(struct receiver *r, struct handoff *h);

/* A user's message with its descriptor, which is taken on success. 0 or -errno as channel_send(); -EAGAIN also
 * when too many are not acknowledged. */
int handoff_message(struct receiver *r, char *text, size_t len, int fd);
bool handoff_has_room(const struct receiver *r); /* for one more, after it said -EAGAIN */

unsigned handoff_lent_count(const struct receiver *r); /* shared sockets that it has not acknowledged */

bool handoff_has_lane(const struct receiver *r);
void handoff_open_lane(struct receiver *r); /* it asked for one; without memory it gets none */
void handoff_open_board(struct receiver *r); /* the same of a scoreboard */

/* Connections that it has in hand: what waits in its lane, what it is being sent, and what it has taken and
 * not finished. Known is that last part only of a libumbel worker that writes its scoreboard, and of a Node worker
 * that counts (counting.h: not what came before that); of others this is what is unanswered. No system call while
 * the scoreboard is written. */
unsigned handoff_active(const struct receiver *r, bool *known);

/* Unanswered connections, or ROTATION_FULL. */
int handoff_load(struct receiver *r);

/* Queues a connection. By the lane: fd is lent until handoff_flush_lane(). Else it is taken. On success
 * refusals are taken too. */
int handoff_give(struct receiver *r, struct share *share, int fd, struct refusals *refusals);
int handoff_flush_lane(struct receiver *r); /* sends lane_out, all or nothing */

/* Its answers. 0, or -EPROTO: it was none to give. */
int handoff_acked(struct receiver *r);
int handoff_nacked(struct receiver *r, struct handoff_query *ret);
int handoff_answered(struct receiver *r, const struct node_message *m);

/* What it was handed and has not taken goes to others. */
void handoff_give_back_all(struct receiver *r);
void handoff_forget_share(struct receiver *r, const struct share *share);

#endif
