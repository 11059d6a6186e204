/* The public functions: which role, then that role's own. Also the one place where events are told. */
#include "umbel.h"

#include "base/fd.h"
#include "base/parallelism.h"
#include "facade.h"
#include "life/worker.h"
#include "program/generation.h"
#include "wire/json.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* A turn must come to an end also when each event causes another. */
enum { TURNS_IN_ONE_DISPATCH = 16 };

static struct reason open_reason; /* of an umbel_open() that gave no umbel */

/* ---- both roles ---- */

static struct umbel *umbel_new(void)
{
	struct umbel *u = calloc(1, sizeof(*u));

	if (u)
		events_init(&u->events);
	else
		reason_set(&open_reason, -ENOMEM, "out of memory");
	return u;
}

static int open_failed(struct umbel *u, int err)
{
	reason_set(&open_reason, err, "%s", u->reason.text[0] ? u->reason.text : strerror(-err));
	free(u);
	return err;
}

int private_open_primary(int argc, char **argv, struct umbel **ret)
{
	struct umbel *u = umbel_new();
	int err;

	if (!u)
		return -ENOMEM;
	err = fd_fill_standard();
	err = err ? err : cluster_open(argc, argv, u, &u->events, &u->reason, &u->cluster);
	if (err)
		return open_failed(u, err);
	*ret = u;
	return 0;
}

int umbel_open(int argc, char **argv, struct umbel **ret)
{
	struct umbel *u;
	int err;

	if (!self_is_worker())
		return private_open_primary(argc, argv, ret);
	u = umbel_new();
	if (!u)
		return -ENOMEM;
	err = self_open(u, &u->events, &u->reason, &u->self);
	if (err)
		return open_failed(u, err);
	*ret = u;
	return 0;
}

static void umbel_free(struct umbel *u)
{
	if (u->cluster)
		cluster_close(u->cluster);
	if (u->self)
		self_close(u->self);
	events_finish(&u->events);
	free(u);
}

void umbel_close(struct umbel *u)
{
	if (!u)
		return;
	u->events.closed = true;
	if (!u->dispatching)
		umbel_free(u);
}

bool umbel_is_primary(const struct umbel *u)
{
	return u->cluster;
}

int facade_wrong_role(struct umbel *u)
{
	return reason_set(&u->reason, -EPERM, u->cluster ? "only a worker can do this"
							 : "only the primary can do this");
}

/* The end of each public call that may have changed something, with its result. */
int facade_touched(struct umbel *u, int result)
{
	if (u->dispatching)
		return result;
	if (u->cluster)
		cluster_touch(u->cluster);
	else
		self_touch(u->self);
	return result;
}

static int tell(struct umbel *u)
{
	int r;

	u->dispatching = true;
	r = events_tell(&u->events, u, u->reason.text, sizeof(u->reason.text));
	u->dispatching = false;
	return r;
}

/* One turn: look, tell, send. 1: not over, 0: over, <0: failed. Who calls it calls leave() last. */
static int turn(struct umbel *u, bool wait)
{
	int r = 0;

	u->dispatching = true; /* umbel_serve is called from within */
	if (u->cluster)
		cluster_turn(u->cluster, wait && TAILQ_EMPTY(&u->events.queue) &&
						 !cluster_is_over(u->cluster));
	else
		r = self_turn(u->self, wait);
	u->dispatching = false;
	if (!r)
		r = tell(u);
	if (r < 0 || u->events.closed)
		return r < 0 ? r : 0;
	if (u->cluster) {
		cluster_flush(u->cluster);
		return !cluster_is_over(u->cluster);
	}
	self_settle(u->self);
	return !self_is_over(u->self);
}

/* A handler may have closed it. */
static int leave(struct umbel *u, int result)
{
	if (u->events.closed)
		umbel_free(u);
	return result;
}

int private_turn(struct umbel *u)
{
	return leave(u, turn(u, true));
}

int umbel_dispatch(struct umbel *u)
{
	int r = 1;

	for (int i = 0; i < TURNS_IN_ONE_DISPATCH && r == 1; i++) {
		r = turn(u, false);
		if (r == 1 && TAILQ_EMPTY(&u->events.queue))
			break;
	}
	if (r == 1 && u->cluster)
		cluster_before_sleep(u->cluster);
	if (r == 1 && !TAILQ_EMPTY(&u->events.queue))
		facade_touched(u, 0);
	return leave(u, r);
}

static int open_signals(sigset_t *before)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd >= 0)
		pthread_sigmask(SIG_BLOCK, &set, before);
	return fd < 0 ? -errno : fd;
}

static void watch_signals(struct umbel *u, int fd)
{
	if (u->cluster)
		cluster_watch_signals(u->cluster, fd);
	else
		self_watch_signals(u->self, fd);
}

int umbel_run(struct umbel *u)
{
	sigset_t before;
	int fd = open_signals(&before), r;

	if (fd < 0)
		return reason_set(&u->reason, fd, "cannot watch signals: %s", strerror(-fd));
	watch_signals(u, fd);
	do
		r = turn(u, true);
	while (r == 1);
	watch_signals(u, -1);
	close(fd);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return leave(u, r);
}

int umbel_fd(struct umbel *u)
{
	return u->cluster ? cluster_fd(u->cluster) : self_fd(u->self);
}

int umbel_wake(struct umbel *u)
{
	if (u->self)
		return self_wake(u->self);
	cluster_wake(u->cluster);
	return 0;
}

int umbel_stop(struct umbel *u)
{
	return facade_touched(u, u->cluster ? cluster_stop(u->cluster) : self_stop(u->self));
}

int umbel_on(struct umbel *u, enum umbel_event_type type, umbel_handler *f, void *data)
{
	if ((int)type < 0 || type >= UMBEL_EVENT_COUNT)
		return reason_set(&u->reason, -EINVAL, "event type %d: there are %d", (int)type,
				  UMBEL_EVENT_COUNT);
	u->events.handlers[type].f = f;
	u->events.handlers[type].data = data;
	return 0;
}

static int check_message(struct umbel *u, const char *json, size_t len)
{
	struct json_top top;
	int err = json_scan(json, len, &top);

	if (err == -E2BIG)
		return reason_set(&u->reason, -EINVAL, "the message is nested deeper than %d",
				  JSON_MAX_DEPTH);
	if (err)
		return reason_set(&u->reason, err, "the message is not one JSON value");
	if (json_is_internal(&top))
		return reason_set(&u->reason, -EINVAL, "a `cmd` that starts with NODE_ is Node's own");
	return 0;
}

int umbel_send(struct umbel *u, struct umbel_worker *to, const char *json, size_t len, int fd)
{
	int err = check_message(u, json, len);

	if (err)
		return err;
	if (u->self && to)
		return facade_wrong_role(u);
	if (u->cluster && !to && fd >= 0)
		return reason_set(&u->reason, -EINVAL, "a descriptor goes to one worker, not to all");
	err = u->cluster ? cluster_send(u->cluster, to, json, len, fd)
			 : self_send(u->self, json, len, fd);
	if (err < 0)
		reason_set(&u->reason, err, "cannot send: %s", strerror(-err));
	return facade_touched(u, err);
}

const char *umbel_reason(const struct umbel *u)
{
	const struct reason *r = u ? &u->reason : &open_reason;

	return r->text[0] ? r->text : "nothing has failed";
}

int umbel_parallelism(void)
{
	return parallelism();
}

uint32_t umbel_version(void)
{
	return UMBEL_VERSION;
}

/* ---- primary ---- */

int umbel_setup(struct umbel *u, const struct umbel_settings *s)
{
	return u->cluster ? cluster_setup(u->cluster, s) : facade_wrong_role(u);
}

const struct umbel_settings *umbel_settings(const struct umbel *u)
{
	return u->cluster ? &u->cluster->settings : NULL;
}

int umbel_fork(struct umbel *u, char *const *env, struct umbel_worker **ret)
{
	return umbel_fork_as(u, NULL, NULL, env, ret);
}

int umbel_fork_as(struct umbel *u, const char *exec, char *const *argv, char *const *env,
		  struct umbel_worker **ret)
{
	if (!u->cluster)
		return facade_wrong_role(u);
	return facade_touched(u, cluster_fork(u->cluster, exec, argv, env, ret));
}

int umbel_scale(struct umbel *u, int workers)
{
	return u->cluster ? facade_touched(u, cluster_scale(u->cluster, workers)) : facade_wrong_role(u);
}

int umbel_reload(struct umbel *u, unsigned canary, uint32_t hold_ms)
{
	return private_reload(u, canary, hold_ms, NULL, NULL);
}

int umbel_reload_end(struct umbel *u, bool undo)
{
	return u->cluster ? facade_touched(u, reload_end(u->cluster, undo)) : facade_wrong_role(u);
}

int umbel_set_policy(struct umbel *u, const char *address, enum umbel_policy p)
{
	return u->cluster ? facade_touched(u, cluster_set_policy(u->cluster, address, p)) : facade_wrong_role(u);
}

enum umbel_policy umbel_policy(const struct umbel *u, const char *address)
{
	return u->cluster ? cluster_policy(u->cluster, address) : UMBEL_AUTO;
}

int umbel_choose(struct umbel *u, const char *address, umbel_chooser *f, void *data)
{
	return u->cluster ? facade_touched(u, cluster_choose(u->cluster, address, f, data)) : facade_wrong_role(u);
}

int umbel_disconnect(struct umbel *u, struct umbel_worker *w)
{
	return u->cluster ? facade_touched(u, cluster_disconnect(u->cluster, w)) : facade_wrong_role(u);
}

int umbel_kill(struct umbel_worker *w, int sig)
{
	if (w->state == UMBEL_STATE_DEAD)
		return -ESRCH;
	return kill(w->receiver.pid, sig) < 0 ? -errno : 0;
}

struct umbel_worker *umbel_worker(const struct umbel *u, uint32_t id)
{
	struct umbel_worker *w = id ? umbel_next(u, id - 1) : NULL;

	return w && w->receiver.id == id ? w : NULL;
}

struct umbel_worker *umbel_next(const struct umbel *u, uint32_t after_id)
{
	struct umbel_worker *w;

	if (u->cluster)
		TAILQ_FOREACH (w, &u->cluster->crew.workers, link)
			if (w->receiver.id > after_id)
				return w;
	return NULL;
}

uint32_t umbel_worker_id(const struct umbel_worker *w)
{
	return w->receiver.id;
}

int umbel_worker_slot(const struct umbel_worker *w)
{
	return w->slot->number;
}

pid_t umbel_worker_pid(const struct umbel_worker *w)
{
	return w->receiver.pid;
}

enum umbel_state umbel_worker_state(const struct umbel_worker *w)
{
	return w->state;
}

uint32_t umbel_worker_generation(const struct umbel_worker *w)
{
	return w->generation->number;
}

bool umbel_worker_connected(const struct umbel_worker *w)
{
	return w->receiver.connected;
}

bool umbel_worker_asked(const struct umbel_worker *w)
{
	return w->receiver.asked;
}

int umbel_worker_fd(const struct umbel_worker *w, int stdio)
{
	return stdio >= 0 && stdio < UMBEL_STDIO_MAX ? w->stdio[stdio] : -1;
}

void **umbel_worker_data(struct umbel_worker *w)
{
	return &w->data;
}

/* ---- worker ---- */

int umbel_listen(struct umbel *u, const char *address, umbel_serve *f, void *data)
{
	return u->self ? facade_touched(u, self_listen(u->self, address, f, data)) : facade_wrong_role(u);
}

int umbel_listen_socket(struct umbel *u, const char *address, umbel_serve *f, void *data)
{
	return u->self ? facade_touched(u, self_listen_socket(u->self, address, f, data)) : facade_wrong_role(u);
}

int umbel_unlisten(struct umbel *u, const char *address)
{
	return u->self ? facade_touched(u, self_unlisten(u->self, address)) : facade_wrong_role(u);
}

void umbel_done(struct umbel *u, int fd)
{
	if (u->self)
		self_done(u->self, fd);
}

int umbel_ready(struct umbel *u)
{
	return u->self ? facade_touched(u, self_ready(u->self)) : facade_wrong_role(u);
}

int umbel_slot(const struct umbel *u)
{
	return u->self ? self_slot(u->self) : 0;
}

uint32_t umbel_id(const struct umbel *u)
{
	return u->self ? self_id(u->self) : 0;
}
