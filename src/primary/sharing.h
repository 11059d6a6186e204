/* sharing: which worker serves which address: their coming and leaving, and who is woken when somebody
 * has room again. How they ask: query.h. What one share does with connections: share.h. */
#ifndef UMBEL_PRIMARY_SHARING_H
#define UMBEL_PRIMARY_SHARING_H

#include "primary/ceiling.h"
#include "primary/share.h"

struct sharing {
	TAILQ_HEAD(, share) shares;
	uint8_t numbers[32]; /* bitmap of lane numbers in use */
	uint8_t next_number;
	struct diag *diag;   /* NULL: the kernel does not tell */
	uint64_t releases; /* of sides */
	struct ceiling ceiling;
	bool lacks; /* descriptors or memory, and it was said */
	umbel_chooser *chooser; /* of listeners to come; NULL */
	void *chooser_data;
	unsigned waiting;    /* shares that wait for room */
	int lanes;           /* epoll set of all lanes' ends, edge-triggered: a full one has room again */
	uv_poll_t lanes_poll;
	uv_timer_t closed; /* closed.h */
	bool lanes_watched;
};

int sharing_open(struct cluster *c);
void sharing_close(struct cluster *c); /* every share too */

/* Who is to have the socket of a new address. is_single: it is one that is there, or that must be alone at its address;
 * is_handed: the primary may accept there, and hand over. */
enum share_form sharing_form(const struct cluster *c, const struct address *a, bool is_single, bool is_handed);

/* share_open(). If the port is taken by addresses that a program has closed, and that only wait for a successor of it,
 * these are given up. */
int sharing_add(struct cluster *c, char *key, const struct socket_wish *wish, enum share_form form,
		enum umbel_policy policy, struct json_t *data, struct share **ret);

void sharing_leave(struct cluster *c, struct umbel_worker *w, const char *key); /* server.close() */

/* A program has closed one of its sockets, or shut it down: if it was the worker's last there, that is like a
 * server.close(): s may be closed then. */
void sharing_lost_socket(struct share *s, uint32_t owner);

void sharing_leave_all(struct cluster *c, struct umbel_worker *w);
void sharing_close_orphans(struct cluster *c); /* addresses that nobody serves: nobody will come */

void sharing_release(struct cluster *c, struct umbel_worker *w); /* it is dead: its sides are free */
void sharing_trim(struct cluster *c); /* slots were retired */
void sharing_tell_listening(const struct share *s, struct umbel_worker *w); /* the event */
void sharing_listens(const struct share *s, const struct umbel_worker *w); /* it has called listen(2) */

/* It is to leave. False: it has no sockets of which only it can take what is in them; else they are ready to be left
 * when sharing_has_unread() says no. */
bool sharing_retire_alone(struct cluster *c, const struct umbel_worker *w);
bool sharing_has_unread(struct cluster *c, const struct umbel_worker *w);

struct share *sharing_find(struct cluster *c, const char *key); /* NULL: nobody serves it */
/* The one that is bound to it (as getsockname(2) says); NULL: nobody. */
struct share *sharing_find_address(struct cluster *c, const struct address *a, bool ipv6_only);
struct share *sharing_by_number(struct cluster *c, uint8_t number);

void sharing_resume(struct cluster *c);      /* somebody has room again */
void sharing_watch_lanes(struct cluster *c); /* while a share waits, and only then */
int sharing_watch_lane(struct cluster *c, int primary_end); /* from its opening to its close */

#endif
