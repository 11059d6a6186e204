/* cluster: the primary's whole: its loop, its slots, who is in them, and when it is over. What one
 * worker does is worker.h; what all have in common is crew.h; who serves which address is sharing.h. */
#ifndef UMBEL_PRIMARY_CLUSTER_H
#define UMBEL_PRIMARY_CLUSTER_H

#include "base/events.h"
#include "base/reason.h"
#include "base/signals.h"
#include "life/crew.h"
#include "primary/reload.h"
#include "primary/slot.h"
#include "primary/spares.h"
#include "umbel.h"

#include <stdatomic.h>
#include <uv.h>

#define CLUSTER_MAX_SLOTS SHARING_MAX_SLOTS

struct cluster {
	struct events *events; /* the umbel's, as is the reason */
	struct reason *reason;

	uv_loop_t loop;
	uv_async_t wake;
	atomic_bool woken; /* by the user; the loop is woken for less */
	bool signals_watched;
	int timer_fd; /* makes the loop's timers readable, for umbel_fd(); -1 until then */
	uv_poll_t timer;
	uv_poll_t signals; /* of umbel_run() */
	struct last_signal last_signal;

	struct umbel_settings settings;
	struct crew crew;
	uint32_t last_generation;
	struct slot **slots;
	int slot_count;
	struct generation *generation; /* of who is started now */
	struct reload reload;
	struct spares spares;
	uv_timer_t limits;   /* memory and connections are looked at */
	bool stopping;       /* no worker is started any more */
	bool told_failed;    /* that every slot has failed */
};

int cluster_open(int argc, char **argv, struct umbel *umbel, struct events *events, struct reason *reason,
		 struct cluster **ret);
void cluster_close(struct cluster *c); /* kills and reaps what is left */

int cluster_setup(struct cluster *c, const struct umbel_settings *s);
int cluster_fork(struct cluster *c, const char *exec, char *const *argv, char *const *env,
		 struct umbel_worker **ret);
int cluster_scale(struct cluster *c, int workers);
int cluster_stop(struct cluster *c);
int cluster_disconnect(struct cluster *c, struct umbel_worker *w);
int cluster_send(struct cluster *c, struct umbel_worker *to, const char *json, size_t len, int fd);

int cluster_set_policy(struct cluster *c, const char *address, enum umbel_policy p);
enum umbel_policy cluster_policy(const struct cluster *c, const char *address);
int cluster_choose(struct cluster *c, const char *address, umbel_chooser *f, void *data);

bool cluster_is_over(const struct cluster *c);
int cluster_fd(struct cluster *c);
void cluster_turn(struct cluster *c, bool wait); /* one turn of the loop */
void cluster_flush(struct cluster *c);           /* what was queued goes out */
void cluster_before_sleep(struct cluster *c);    /* the caller's loop will poll cluster_fd() */
void cluster_wake(struct cluster *c);            /* UMBEL_WOKEN; any thread, any signal handler */
void cluster_touch(struct cluster *c);           /* after a call from outside a turn */

/* signalfd: -1 ends it. TERM, INT, a terminal's HUP: cluster_stop(); HUP from others: a reload. */
void cluster_watch_signals(struct cluster *c, int signalfd);

/* How many slots want a worker. */
int cluster_wanted(const struct cluster *c);

/* ---- for the files beside it ---- */

int cluster_check_slots(struct cluster *c, int wanted); /* -EINVAL: too many for the policy */
void cluster_slots_changed(struct cluster *c);         /* some were added or retired */
bool cluster_expects_workers(const struct cluster *c); /* some slot has a worker, or will have one again */
bool cluster_awaits_worker(const struct cluster *c);   /* one that is not there yet, or not ready */
void cluster_lost_slot(struct cluster *c);    /* nobody will come there any more */
void cluster_worker_gone(struct cluster *c);  /* one is dead, and its slot has taken its step */

#define cluster_note(c, ...) events_add_note((c)->events, __VA_ARGS__)

#endif
