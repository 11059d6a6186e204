/* worker: one process of the program, from fork to death, and how it is asked to leave. What it says
 * and is told: dialogue.h. What it is handed: handoff.h. */
#ifndef UMBEL_PRIMARY_WORKER_H
#define UMBEL_PRIMARY_WORKER_H

#include "primary/cluster.h"
#include "primary/kind.h"
#include "umbel.h"
#include "wire/channel.h"
#include "wire/lane.h"

struct handoff;
TAILQ_HEAD(handoffs, handoff);

struct umbel_worker {
	TAILQ_ENTRY(umbel_worker) link, dirty_link;
	struct cluster *cluster;
	struct slot *slot;
	int slot_number; /* stays when the slot has its successor */
	uint32_t id;
	pid_t pid;
	int pidfd;
	uint64_t started_ms; /* of uv_hrtime() */
	enum umbel_state state;
	enum kind kind;
	bool asked;           /* it, we or the user said: leave */
	bool online, listened;
	bool connected;       /* its end of the channel is open */
	bool is_other_user;   /* settings.uid */
	bool is_libumbel;     /* it said so */
	bool told_disconnect; /* act:disconnect is sent */
	bool wants_writable;  /* umbel_send() said -EAGAIN */
	bool dirty, watches_output;
	int exec_error;       /* of the child; 0: there is a program */
	const char *exec_step; /* that failed; NULL */
	uint32_t seq;
	void *data;
	int stdio[3];

	uv_poll_t death, channel_poll;
	uv_timer_t grace;
	uint64_t kill_at_ms; /* the end of the grace; of uv_now() */
	unsigned references; /* open handles, and the GONE that was not told */
	struct channel channel;

	struct handoffs handoffs;
	int unanswered; /* connections among them */
	uint64_t handed;
	int lane, lane_far;     /* -1: none; our end, and our copy of the worker's */
	unsigned lane_credit;   /* connections that surely have room */
	struct lane_batch lane_out;
};

/* Starts a process in the slot. On error nothing has changed; the reason is set. */
int worker_start(struct cluster *c, struct slot *slot, struct umbel_worker **ret);

void worker_ask(struct umbel_worker *w);  /* leave: drain, part, end; KILL when the grace is over */
void worker_kill_group(struct umbel_worker *w, int sig);
void worker_destroy(struct umbel_worker *w); /* kill, reap, no events: the cluster is being closed */
void worker_part(struct umbel_worker *w);    /* the channel is over, the process perhaps not */

#endif
