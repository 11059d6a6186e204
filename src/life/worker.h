/* worker: one process of the program, from fork (start.c) to death (worker.c), and how it is asked to
 * leave. What it may be and when: life.h. What it says and is told: dialogue.h. What its addresses see
 * of it: receiver.h. Who follows it: slot.h. */
#ifndef UMBEL_LIFE_WORKER_H
#define UMBEL_LIFE_WORKER_H

#include "life/crew.h"
#include "life/life.h"
#include "life/notify.h"
#include "life/told.h"
#include "program/kind.h"
#include "share/receiver.h"
#include "umbel.h"
#include "wire/accounts.h"

struct generation;
struct program;
struct slot;
struct intercept;
struct drain;

/* What is to happen to it at a certain time, unless something else comes first. */
enum worker_deadline {
	DEADLINE_READY,  /* it is late */
	DEADLINE_AFTER,  /* it has not listened: ready by its age */
	DEADLINE_PROOF,  /* it has been ready for settings.min_up_ms */
	DEADLINE_SOAK,   /* it has been ready for long enough */
	DEADLINE_PARTED, /* it lives on without its channel */
	DEADLINE_CUT,    /* its responses were marked for long enough: act:disconnect */
	DEADLINE_SIGNAL, /* it has parted and had its last steps: the stop signal */
	DEADLINE_GRACE,
	DEADLINE_SOCKETS, /* it is looked whether sockets that it sent are closed */
	DEADLINE_AGE, /* it is to be recycled */
	DEADLINE_OFFER, /* it is looked whether it has taken what it was offered */
	DEADLINES
};

/* What a spare has asked for, and is answered when it has a slot. */
struct held {
	char **texts; /* internal messages */
	unsigned count;
	size_t bytes;
};

struct umbel_worker {
	TAILQ_ENTRY(umbel_worker) link;
	struct receiver receiver; /* what its addresses see of it */
	struct crew *crew;
	struct slot *slot; /* of who is told; nothing here looks into it */
	const struct program *program; /* the slot's own */
	struct generation *generation;
	int pidfd;
	enum umbel_state state; /* changed by worker_happens() alone */
	enum kind kind;
	unsigned offered;     /* sockets that it found at its start, and has not declined (activation.h) */
	const char *kind_why; /* a constant: why this one */
	uint64_t offered_inode; /* of the first of them */
	bool asked_by_us;
	bool is_spare;        /* it has no slot yet: spares.h */
	bool lacks_slot;      /* it was one when it was started: nobody has told it its slot */
	bool serves;          /* it said that it can, while it was one */
	bool late;            /* killed because it was not ready in time */
	bool broke;           /* killed because it broke the protocol, or could not be talked to */
	bool killed;          /* by us */
	bool online;
	bool waits_to_be_ready; /* it said that listening is not enough */
	bool was_ready, soaked;
	bool went_away;       /* its end was that it went into the background */
	bool is_other_user;   /* settings.uid */
	bool told_disconnect; /* act:disconnect is sent */
	bool watches_output;
	bool reads_alone; /* it drains, and only it can take what is in some of its sockets */
	int node_major;       /* what its preload said; 0: unknown */
	int exec_error;       /* of the child; 0: there is a program */
	const char *exec_step; /* that failed; NULL */
	uint64_t started_ms, held_ms, ready_ms, drains_ms; /* of uv_hrtime() */
	uint32_t chance;      /* any number: spreads its limits */
	void *data;
	int stdio[UMBEL_STDIO_MAX]; /* our ends of pipes; -1 */
	int inspect_port; /* of its debugger; 0: none of ours */
	char *status;     /* as it says (STATUS=, notify.h); NULL */
	uint64_t watchdog_ms; /* of uv_hrtime(): its last WATCHDOG=1; 0: none */
	struct notify notify;
	struct probe *probe;  /* is it ready? NULL: nobody asks */
	char **environment;   /* until it is ready, where there is a ready command; NULL */

	uv_poll_t death, channel_poll;
	uv_timer_t timer;
	uint64_t deadlines[DEADLINES]; /* of uv_now(); 0: none */
	unsigned references; /* open handles, and the GONE that was not told */

	struct accounts accounts;
	struct drain *drain;         /* NULL: it does not, or says itself when it is done */
	struct intercept *intercept; /* NULL: its calls are its own */
	struct held held;
	struct told told;
};

/* Starts a process for a slot (0: it is a spare), which does not know of it yet: w->slot is the caller's to set. On
 * error nothing has changed; the reason is set. In start.c. */
int worker_start(struct crew *crew, int slot, const struct program *program, struct generation *g,
		 struct umbel_worker **ret);

/* UMBEL_FAILED; of a spare a note: its end is nobody's failure. */
void worker_tell_failed(struct umbel_worker *w, int error, const char *why);

/* The one place where a state changes: looks the event up in the table and does what stands there. */
void worker_happens(struct umbel_worker *w, enum worker_event event);

void worker_ask(struct umbel_worker *w);     /* to leave; KILL when the grace is over */
void worker_leaves(struct umbel_worker *w);  /* by its own wish, as it says */
void worker_part(struct umbel_worker *w);    /* the channel is over, the process perhaps not */
void worker_destroy(struct umbel_worker *w); /* kill, reap, no events: the cluster is being closed */

/* Connections may be given to it, or not any more; those it has stay. */
void worker_set_takes(struct umbel_worker *w, bool takes);

/* In so many milliseconds, or (worker_no_deadline()) never. */
void worker_deadline(struct umbel_worker *w, enum worker_deadline which, uint64_t ms);
void worker_no_deadline(struct umbel_worker *w, enum worker_deadline which);

void worker_unref(struct umbel_worker *w); /* one of w->references is over */

/* For start.c: begins to watch the channel, the pidfd and the deadlines. */
void worker_attach(struct umbel_worker *w, int channel);
uint64_t worker_now_ms(void); /* of uv_hrtime() */

#define worker_note(w, ...) events_add_note((w)->crew->events, (w)->receiver.slot, __VA_ARGS__)

#endif
