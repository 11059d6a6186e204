/* cluster: the primary's whole: its loop, its slots, who is in them, and when it is over. What one
 * worker does is worker.h; who serves which address is sharing.h. */
#ifndef UMBEL_PRIMARY_CLUSTER_H
#define UMBEL_PRIMARY_CLUSTER_H

#include "base/events.h"
#include "base/reason.h"
#include "primary/kind.h"
#include "primary/sharing.h"
#include "umbel.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <uv.h>

#define CLUSTER_MAX_SLOTS 1024

/* A numbered place for a worker. It outlives the worker. */
struct slot {
	int number;                  /* 1.. */
	bool kept;                   /* refilled when its worker ends */
	char **env;                  /* of its fork; NULL: none */
	struct umbel_worker *worker; /* NULL: empty */
	unsigned restarts;
};

TAILQ_HEAD(workers, umbel_worker);

struct cluster {
	struct events *events; /* the umbel's, as is the reason */
	struct reason *reason;

	uv_loop_t loop;
	uv_async_t wake;
	atomic_bool woken; /* by the user; the loop is woken for less */
	int timer_fd; /* makes the loop's timers readable, for umbel_fd(); -1 until then */
	uv_poll_t timer;
	uv_poll_t signals; /* of umbel_run() */
	bool signals_watched;

	int argc;
	char **argv;
	char *own_path; /* what settings.exec NULL means */
	struct umbel_settings settings;
	enum kind kind; /* what `auto` found, or what was asked */
	struct rlimit nofile; /* before it was raised */

	struct workers workers; /* by id */
	struct workers dirty;   /* with something to send at the end of the turn */
	uint32_t last_id;
	struct slot **slots;
	int slot_count;
	unsigned failures; /* workers in a row that ended before they listened */
	bool stopping;     /* no worker is started any more */
	uv_timer_t retry;  /* a kept slot could not be filled */

	struct sharing sharing;
};

int cluster_open(int argc, char **argv, struct events *events, struct reason *reason,
		 struct cluster **ret);
void cluster_close(struct cluster *c); /* kills and reaps what is left */

int cluster_setup(struct cluster *c, const struct umbel_settings *s);
int cluster_fork(struct cluster *c, char *const *env, struct umbel_worker **ret);
int cluster_scale(struct cluster *c, int workers);
int cluster_stop(struct cluster *c);
int cluster_disconnect(struct cluster *c, struct umbel_worker *w);
int cluster_send(struct cluster *c, struct umbel_worker *to, const char *json, size_t len, int fd);

bool cluster_is_over(const struct cluster *c);
int cluster_fd(struct cluster *c);
void cluster_turn(struct cluster *c, bool wait); /* one turn of the loop */
void cluster_flush(struct cluster *c);           /* what was queued goes out */
void cluster_before_sleep(struct cluster *c);    /* the caller's loop will poll cluster_fd() */
void cluster_wake(struct cluster *c);            /* UMBEL_WOKEN; any thread, any signal handler */
void cluster_touch(struct cluster *c);           /* after a call from outside a turn */

/* signalfd: -1 ends it. TERM, INT, HUP: cluster_stop(). */
void cluster_watch_signals(struct cluster *c, int signalfd);

/* ---- for worker.c and sharing.c ---- */

void cluster_worker_dead(struct cluster *c, struct umbel_worker *w);
void cluster_worker_listens(struct cluster *c);
bool cluster_expects_workers(const struct cluster *c); /* some slot is, or will be, filled again */

#endif
