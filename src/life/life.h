/* life: what a worker and a slot may be, and what each event makes of them. Two tables and a few rules,
 * all pure: who acts on them is worker.c and slot.c. The tables are drawn in docs/LIFE.md, which
 * `make docs` writes from them. */
#ifndef UMBEL_LIFE_LIFE_H
#define UMBEL_LIFE_LIFE_H

#include "umbel.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- a worker: enum umbel_state x what happens to it ---- */

enum worker_event {
	WORKER_SERVES,  /* it listened, or said so: it is ready */
	WORKER_HELD,    /* a spare, about to listen */
	WORKER_RELEASE, /* the same: it has a slot */
	WORKER_LATE,    /* it was not ready in time */
	WORKER_ASK,     /* it is to leave: drain, part, end */
	WORKER_DISMISS, /* it is to leave, and only a signal tells it: it never spoke, or wants it so */
	WORKER_LEAVES,  /* it says that it leaves, or closes its channel, by its own wish */
	WORKER_DRAINED, /* it was asked, and has closed its channel */
	WORKER_OVERDUE, /* its grace is over */
	WORKER_END,     /* end it at once: it broke the protocol, or somebody is in a hurry */
	WORKER_DIED,    /* the pidfd says so */
	WORKER_EVENTS
};

enum worker_action {
	WORKER_NOTHING,
	WORKER_TELL_READY,
	WORKER_HOLD,   /* it waits for a slot, for as long as it takes */
	WORKER_DRAIN,  /* no new connections; say so to it; the grace begins */
	WORKER_LIMIT,  /* no new connections; the grace begins */
	WORKER_SIGNAL, /* no new connections; the stop signal; the grace begins unless it runs already */
	WORKER_KILL,   /* SIGKILL to its group */
	WORKER_BURY,
	WORKER_ACTIONS
};

struct worker_step {
	enum umbel_state next;
	enum worker_action action;
};

struct worker_step life_of_worker(enum umbel_state state, enum worker_event event);

/* ---- a slot ---- */

/* Who leaves is its slot's worker no more: a slot may be filled again beside those who still drain. */
enum slot_state {
	SLOT_EMPTY,     /* nobody, and nobody wanted */
	SLOT_FILLING,   /* its worker is not ready yet */
	SLOT_SERVING,   /* its worker is ready */
	SLOT_REPLACING, /* the only state with two workers: a successor comes, the other is still there */
	SLOT_BACKOFF,   /* nobody, until a timer says so */
	SLOT_FAILED,    /* nobody: it crashed too often. Left by reload and scale */
	SLOT_RETIRED,   /* nobody wanted: who was there is leaving */
	SLOT_STATES
};

enum slot_event {
	SLOT_WANT,    /* a worker is wanted here */
	SLOT_READY,   /* its only worker is ready */
	SLOT_REFILL,  /* its only worker died: another one at once */
	SLOT_WAIT,    /* its only worker died: another one, but not at once */
	SLOT_FAIL,    /* its only worker died, once too often */
	SLOT_LEAVE,   /* its worker died or could not be started, or the last of those who leave is gone:
		       * nobody follows */
	SLOT_DUE,     /* the back-off is over */
	SLOT_REPLACE, /* a successor is wanted for its worker */
	SLOT_TURN,    /* the successor has proved itself, or the predecessor died: it is the worker now */
	SLOT_INHERIT, /* the predecessor died, and the successor is not ready yet */
	SLOT_KEEP,    /* the successor is dead or dismissed: the predecessor stays */
	SLOT_RETIRE,  /* scaled away */
	SLOT_EVENTS
};

enum slot_action {
	SLOT_NOTHING,
	SLOT_START,      /* a worker */
	SLOT_START_NEXT, /* a successor, which is given no connection yet */
	SLOT_START_OVER, /* ask the worker that serves nobody yet to leave; start another */
	SLOT_ARM,        /* the timer */
	SLOT_ADOPT,      /* the successor takes the place; ask the predecessor to leave */
	SLOT_FORGET,     /* ask the successor to leave */
	SLOT_ASK_ALL,    /* its workers to leave */
	SLOT_CLEAR,      /* the timer, and what was counted */
	SLOT_TELL_FAILED,
	SLOT_ACTIONS
};

struct slot_step {
	enum slot_state next;
	enum slot_action action;
};

struct slot_step life_of_slot(enum slot_state state, enum slot_event event);

/* Whether a worker is there or on its way: the connections of a listener may wait for it. */
bool life_is_expecting(enum slot_state state);

/* ---- what a death means ---- */

struct death {
	int code, signal;       /* as in UMBEL_EXIT */
	bool not_started;       /* there was never a process: no memory, too many */
	bool has_no_program;    /* the exec failed */
	bool broke;             /* killed because it broke the protocol, or could not be talked to */
	bool late;              /* killed because it was not ready in time */
	bool out_of_memory;     /* killed by the kernel */
	bool asked;             /* we asked it to leave */
	bool left;              /* it said that it leaves, and had been handed connections */
	bool was_ready;
	int64_t ready_ms;       /* for how long it was ready, milliseconds */
};

/* Its own doing, and too soon: before it was ready or within min_up_ms of it. A signal that people send
 * (KILL, TERM, INT, HUP, QUIT, USR1, USR2) is no crash, nor is who has
 * served and said that it leaves. */
bool life_is_crash(const struct death *d, uint32_t min_up_ms);

/* The counts of a slot, kept from death to death. */
struct streak {
	unsigned crashes; /* in a row */
	unsigned unready; /* in a row, before any of them was ready */
	unsigned early;   /* ends before ready in a row, crashes or not */
};

struct death_rules {
	uint32_t min_up_ms;
	uint32_t max_failures;              /* 0: no limit */
	enum umbel_restart restart;
	const int *stop_codes;              /* exit statuses after which nobody follows, then -1; or NULL */
};

/* What the death of its only worker means for a slot that wants one: SLOT_REFILL, SLOT_WAIT, SLOT_FAIL
 * or SLOT_LEAVE. Counts it in *streak. */
enum slot_event life_judge(const struct death *d, const struct death_rules *rules, struct streak *streak);

/* After so many ends too soon in a row: the wait before the next start: 0 for the first, then 100 ms, doubled
 * up to 30 s, spread by a fifth either way; chance is any number. Milliseconds. */
uint32_t life_backoff_ms(unsigned ends, uint32_t chance);

/* ---- words, as in `umbel status` and in the tables ---- */

const char *life_worker_state(enum umbel_state state);
const char *life_worker_event(enum worker_event event);
const char *life_worker_action(enum worker_action action);
const char *life_slot_state(enum slot_state state);
const char *life_slot_event(enum slot_event event);
const char *life_slot_action(enum slot_action action);

#endif
