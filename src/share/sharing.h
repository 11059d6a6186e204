/* sharing: which worker serves which address: their coming and leaving, and who is woken when somebody
 * has room again. How they ask: query.h. What one share does with connections: share.h. */
#ifndef UMBEL_SHARE_SHARING_H
#define UMBEL_SHARE_SHARING_H

#include "base/events.h"
#include "share/busy.h"
#include "share/leftover.h"
#include "share/ceiling.h"
#include "share/receiver.h"
#include "share/share.h"

#define SHARING_MAX_SLOTS 1024

struct cluster;

/* What addresses ask of the whole that they are part of. */
struct sharing_asks {
	bool (*expects_workers)(const struct cluster *c); /* some slot has a worker, or will have one again */
	bool (*awaits_worker)(const struct cluster *c);   /* one that is not there yet, or not ready */
	/* Who may serve what this one has closed. */
	bool (*expects_another)(const struct cluster *c, const struct umbel_worker *w);
	bool (*is_slot_wanted)(const struct cluster *c, int slot);
	bool (*is_slot_booting)(const struct cluster *c, int slot); /* its worker is there, and not ready */
	int (*wanted)(const struct cluster *c); /* how many slots are */
	/* It broke the protocol; NULL: it is of no use, by no fault of its own. */
	void (*end_worker)(struct umbel_worker *w, const char *breach);
};

struct sharing {
	const struct sharing_asks *asks;
	struct cluster *cluster; /* that is asked */
	uv_loop_t *loop;
	struct umbel *umbel; /* for the user's chooser */
	struct events *events;
	const struct umbel_settings *settings;

	struct receivers receivers; /* by id */
	struct receivers dirty;     /* with something to send at the end of the turn */
	TAILQ_HEAD(, share) shares;
	uint8_t numbers[32]; /* bitmap of lane numbers in use */
	uint8_t next_number;
	struct diag *diag;   /* NULL: the kernel does not tell */
	uint64_t releases; /* of sides */
	struct ceiling ceiling;
	struct busy busy;
	struct leftovers leftovers;
	bool told_leftover; /* that workers leave processes behind */
	bool lacks; /* descriptors or memory, and it was said */
	umbel_chooser *chooser; /* of listeners to come; NULL */
	void *chooser_data;
	unsigned waiting;    /* shares that wait for room */
	int lanes;           /* epoll set of all lanes' ends, edge-triggered: a full one has room again */
	uv_poll_t lanes_poll;
	uv_timer_t room;   /* it is looked whether a worker that had no descriptors left may have more again */
	uv_timer_t closed; /* closed.h */
	bool lanes_watched;
};

int sharing_open(struct sharing *sharing); /* its members down to settings are set */
void sharing_close(struct sharing *sharing); /* every share too */

/* Who is to have the socket of a new address. is_single: it is one that is there, or that must be alone at its address;
 * is_handed: the primary may accept there, and hand over. */
enum share_form sharing_form(const struct sharing *sharing, const struct address *a, bool is_single, bool is_handed);

/* share_open(). If the port is taken by addresses that a program has closed, and that only wait for a successor of it,
 * these are given up. */
int sharing_add(struct sharing *sharing, char *key, const struct socket_wish *wish, enum share_form form,
		enum umbel_policy policy, struct json_t *data, struct share **ret);

void sharing_leave(struct receiver *r, const char *key); /* server.close() */

/* A program has closed one of its sockets, or shut it down: if it was the worker's last there, that is like a
 * server.close(): s may be closed then. */
void sharing_lost_socket(struct share *s, uint32_t owner);

void sharing_leave_all(struct receiver *r);
void sharing_close_orphans(struct sharing *sharing); /* addresses that nobody serves: nobody will come */

void sharing_release(struct receiver *r); /* it is dead: its sides are free */
void sharing_trim(struct sharing *sharing); /* slots were retired */
void sharing_tell_listening(const struct share *s, struct receiver *r); /* the event */
void sharing_listens(const struct share *s, const struct receiver *r); /* it has called listen(2) */

/* It is to leave. False: it has no sockets of which only it can take what is in them; else they are ready to be left
 * when sharing_has_unread() says no. */
bool sharing_retire_alone(const struct receiver *r);
bool sharing_has_unread(const struct receiver *r);

struct share *sharing_find(struct sharing *sharing, const char *key); /* NULL: nobody serves it */
/* The one that is bound to it (as getsockname(2) says); NULL: nobody. */
struct share *sharing_find_address(struct sharing *sharing, const struct address *a, bool ipv6_only);
struct share *sharing_by_number(struct sharing *sharing, uint8_t number);

struct receiver *sharing_find_receiver(struct sharing *sharing, uint32_t id); /* NULL: it is gone */
bool sharing_expects_workers(const struct sharing *sharing);
int sharing_wanted(const struct sharing *sharing); /* slots that want a worker */
bool sharing_wants_slot(const struct sharing *sharing, int slot);
bool sharing_boots_slot(const struct sharing *sharing, int slot);

void sharing_resume(struct sharing *sharing);      /* somebody has room again */
void sharing_resume_soon(struct sharing *sharing); /* somebody may have it soon, and will not say so */
void sharing_watch_lanes(struct sharing *sharing); /* while a share waits, and only then */
int sharing_watch_lane(struct sharing *sharing, int primary_end); /* from its opening to its close */

#endif
