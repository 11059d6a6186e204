#include "primary/worker.h"

#include "base/fd.h"
#include "primary/dialogue.h"
#include "primary/handoff.h"
#include "primary/settings.h"
#include "primary/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t now_ms(void)
{
	return uv_hrtime() / 1000000;
}

/* ---- memory: a worker lives until its handles are closed and its GONE was told ---- */

static void unreference(struct umbel_worker *w)
{
	if (--w->references == 0)
		free(w);
}

static void on_handle_closed(uv_handle_t *handle)
{
	unreference(handle->data);
}

static void on_gone_told(struct queued_event *e)
{
	struct umbel_worker *w = e->event.worker;

	for (int i = 0; i < 3; i++)
		fd_close(&w->stdio[i]);
	unreference(w);
}

/* ---- its end ---- */

/* Libumbel's umbel_run() has returned by itself when the channel ends: its program may finish. */
enum { LAST_STEPS_MS = 1000, LAST_READS = 512 };

static void on_grace(uv_timer_t *timer)
{
	struct umbel_worker *w = timer->data;
	uint64_t now = uv_now(&w->cluster->loop);

	if (now >= w->kill_at_ms) {
		worker_kill_group(w, SIGKILL);
		return;
	}
	worker_kill_group(w, SIGTERM);
	uv_timer_start(timer, on_grace, w->kill_at_ms - now, 0);
}

static void say_term(struct umbel_worker *w)
{
	uint64_t now = uv_now(&w->cluster->loop);

	if (w->is_libumbel && now + LAST_STEPS_MS < w->kill_at_ms)
		uv_timer_start(&w->grace, on_grace, LAST_STEPS_MS, 0);
	else
		worker_kill_group(w, SIGTERM);
}

/* Its group, and itself: it may have left the group. */
static void send_signal(const struct umbel_worker *w, int sig)
{
	if (kill(-w->pid, sig) < 0 || sig == SIGKILL)
		pidfd_send_signal(w->pidfd, sig, NULL, 0);
}

void worker_kill_group(struct umbel_worker *w, int sig)
{
	if (w->state == UMBEL_STATE_DEAD)
		return;
	if (sig == SIGKILL || sig == SIGTERM)
		w->state = UMBEL_STATE_STOPPING;
	send_signal(w, sig);
}

void worker_ask(struct umbel_worker *w)
{
	if (w->state == UMBEL_STATE_DEAD || w->state == UMBEL_STATE_STOPPING ||
	    w->state == UMBEL_STATE_DRAINING)
		return;
	w->asked = true;
	sharing_leave_all(w->cluster, w);
	uv_update_time(&w->cluster->loop); /* the last turn may be long ago */
	w->kill_at_ms = uv_now(&w->cluster->loop) + w->cluster->settings.grace_ms;
	uv_timer_start(&w->grace, on_grace, w->cluster->settings.grace_ms, 0);
	/* One that never spoke would not understand, and serves nobody. */
	if (!w->online || !w->connected) {
		worker_kill_group(w, SIGTERM);
		return;
	}
	w->state = UMBEL_STATE_DRAINING;
	dialogue_disconnect_when_idle(w);
}

/* The channel is over, the process perhaps not. */
void worker_part(struct umbel_worker *w)
{
	if (!channel_is_open(&w->channel))
		return;
	uv_close((uv_handle_t *)&w->channel_poll, on_handle_closed);
	channel_close(&w->channel);
	if (w->connected) {
		w->connected = false;
		sharing_leave_all(w->cluster, w);
		handoff_give_back_all(w);
		events_add(w->cluster->events, UMBEL_DISCONNECT, w, "", 0);
	}
	/* Drained. A timer or a connection to a database would keep it alive for ever. */
	if (w->state == UMBEL_STATE_DRAINING)
		say_term(w);
}

static void emit_exit(struct umbel_worker *w, const siginfo_t *info)
{
	struct queued_event *e;
	char why[PATH_MAX + 128];

	/* Only our own child exits so after saying it; a program may have said it too. */
	if (w->exec_error && !(info->si_code == CLD_EXITED && info->si_status == SPAWN_FAILED))
		w->exec_error = 0;
	if (w->exec_error) {
		snprintf(why, sizeof(why), "cannot start %s: %s: %s", w->cluster->settings.exec
			 ? w->cluster->settings.exec : "this program", w->exec_step,
			 strerror(w->exec_error));
		events_add_failed(w->cluster->events, w, -w->exec_error, why);
		return;
	}
	e = events_add(w->cluster->events, UMBEL_EXIT, w, "", 0);
	if (!e)
		return;
	e->event.exit.code = info->si_code == CLD_EXITED ? info->si_status : -1;
	e->event.exit.signal =
	    info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED ? info->si_status : -1;
	e->event.exit.core = info->si_code == CLD_DUMPED;
	e->event.exit.asked = w->asked;
	e->event.exit.up_ms = (int64_t)(now_ms() - w->started_ms);
}

/* What it said before it died still counts. */
static void read_the_rest(struct umbel_worker *w)
{
	/* Bounded: a grandchild may hold its end and go on writing. The socket holds fewer messages. */
	for (int i = 0; i < LAST_READS && channel_is_open(&w->channel); i++)
		if (channel_read(&w->channel) <= 0 || dialogue_read_lines(w) < 0)
			break;
	worker_part(w);
}

static void finish(struct umbel_worker *w)
{
	struct queued_event *e;

	TAILQ_REMOVE(&w->cluster->workers, w, link);
	if (w->dirty)
		TAILQ_REMOVE(&w->cluster->dirty, w, dirty_link);
	w->dirty = false;
	uv_close((uv_handle_t *)&w->death, on_handle_closed);
	uv_close((uv_handle_t *)&w->grace, on_handle_closed);
	fd_close(&w->pidfd);
	e = events_add(w->cluster->events, UMBEL_GONE, w, "", 0);
	if (e)
		e->told = on_gone_told;
}

static bool is_dead(struct umbel_worker *w, siginfo_t *info, int flags)
{
	info->si_pid = 0;
	if (waitid(P_PIDFD, (id_t)w->pidfd, info, WEXITED | flags) == 0)
		return info->si_pid == w->pid;
	/* Reaped by somebody else in this process, or SIGCHLD is ignored: how it ended is lost. */
	info->si_code = 0;
	return errno == ECHILD;
}

static void on_death(uv_poll_t *poll, int status, int events)
{
	struct umbel_worker *w = poll->data;
	struct cluster *c = w->cluster;
	siginfo_t info;

	if (!is_dead(w, &info, WNOHANG | WNOWAIT))
		return;
	/* Its group goes with it, while its number is still taken: what a launcher leaves behind would
	 * serve on beside the successor. */
	kill(-w->pid, SIGKILL);
	is_dead(w, &info, WNOHANG);
	w->state = UMBEL_STATE_DEAD; /* this first: its number may be another's from now on */
	read_the_rest(w);
	emit_exit(w, &info);
	finish(w);
	sharing_resume(c); /* before a successor is forked, which would hold copies for a moment */
	cluster_worker_dead(c, w);
}

void worker_destroy(struct umbel_worker *w)
{
	siginfo_t info;

	send_signal(w, SIGKILL);
	is_dead(w, &info, 0);
	w->state = UMBEL_STATE_DEAD;
	worker_part(w);
	finish(w);
}

/* ---- its start ---- */

static int build_environment(const struct umbel_worker *w, char ***ret)
{
	char slot[32], id[32], instance[40], unique[40], max_message[48];
	char *own[] = {slot, id, "UMBEL_GENERATION=1", instance, max_message, NULL};
	char *node[] = {"NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=json", unique, NULL};
	char *channel[] = {"UMBEL_CHANNEL=3", NULL};
	char *const *more[] = {w->cluster->settings.env, w->slot->env, own,
			       w->kind == KIND_NODE      ? node
			       : w->kind == KIND_CHANNEL ? channel
							 : NULL};

	snprintf(slot, sizeof(slot), "UMBEL_SLOT=%d", w->slot->number);
	snprintf(id, sizeof(id), "UMBEL_WORKER=%u", w->id);
	snprintf(instance, sizeof(instance), "NODE_APP_INSTANCE=%d", w->slot->number - 1);
	snprintf(unique, sizeof(unique), "NODE_UNIQUE_ID=%u", w->id);
	snprintf(max_message, sizeof(max_message), "UMBEL_MAX_MESSAGE=%zu",
		 w->cluster->settings.max_message);
	return environment_build(environ, more, sizeof(more) / sizeof(more[0]), ret);
}

/* theirs[i] is what the child gets; those that were opened for it are closed by the caller. */
static int open_stdio(struct umbel_worker *w, int theirs[3], bool opened[3])
{
	for (int i = 0; i < 3; i++) {
		int setting = w->cluster->settings.stdio[i], ends[2];

		theirs[i] = setting;
		if (setting == UMBEL_STDIO_PIPE) {
			if (pipe2(ends, O_CLOEXEC) < 0)
				return -errno;
			theirs[i] = ends[i == 0 ? 0 : 1];
			w->stdio[i] = ends[i == 0 ? 1 : 0];
			opened[i] = true;
		} else if (setting == UMBEL_STDIO_INHERIT && i > 0 && fcntl(i, F_GETFD) >= 0) {
			theirs[i] = i;
		} else if (setting == UMBEL_STDIO_INHERIT) {
			theirs[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
			if (theirs[i] < 0)
				return -errno;
			opened[i] = true;
		}
	}
	return 0;
}

static int find_program(struct cluster *c, enum kind *ret_kind, char *path, size_t size)
{
	const char *name = c->settings.exec ? c->settings.exec : c->own_path ? c->own_path : c->argv[0];
	int err = spawn_find(name, c->settings.cwd, path, size);

	if (err)
		return reason_set(c->reason, err, "cannot execute %s: %s", name, strerror(-err));
	*ret_kind = c->kind != KIND_AUTO	    ? c->kind
		    : c->settings.exec == NULL ? KIND_CHANNEL
					       : kind_of_program(name, path);
	return 0;
}

static int spawn_it(struct umbel_worker *w, const char *path, int channel)
{
	struct cluster *c = w->cluster;
	int theirs[3] = {-1, -1, -1};
	bool opened[3] = {false, false, false};
	char **env = NULL;
	int err = build_environment(w, &env);

	err = err ? err : open_stdio(w, theirs, opened);
	if (!err) {
		struct spawn s = {
		    .path = path,
		    .argv = c->settings.argv ? c->settings.argv : c->argv,
		    .env = env,
		    .cwd = c->settings.cwd,
		    .uid = c->settings.uid,
		    .gid = c->settings.gid,
		    .stdio = {theirs[0], theirs[1], theirs[2]},
		    .channel = channel,
		    .keep_channel = w->kind != KIND_NONE,
		    .nofile = c->nofile,
		};
		err = spawn_process(&s, &w->pid, &w->pidfd);
	}
	for (int i = 0; i < 3; i++) {
		if (opened[i])
			fd_close(&theirs[i]);
		if (err)
			fd_close(&w->stdio[i]);
	}
	strings_free(env);
	return err;
}

static int attach(struct umbel_worker *w, int channel)
{
	struct cluster *c = w->cluster;

	channel_open(&w->channel, channel, c->settings.max_message, c->settings.max_queue);
	uv_poll_init(&c->loop, &w->channel_poll, channel);
	uv_poll_init(&c->loop, &w->death, w->pidfd);
	uv_timer_init(&c->loop, &w->grace);
	w->channel_poll.data = w->death.data = w->grace.data = w;
	w->references = 4; /* three handles and GONE */
	uv_poll_start(&w->channel_poll, UV_READABLE, dialogue_on_channel);
	return uv_poll_start(&w->death, UV_READABLE, on_death);
}

static struct umbel_worker *worker_new(struct cluster *c, struct slot *slot, enum kind kind)
{
	struct umbel_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->cluster = c;
	w->slot = slot;
	w->slot_number = slot->number;
	w->id = c->last_id + 1;
	w->kind = kind;
	w->connected = kind != KIND_NONE;
	w->is_other_user = c->settings.uid >= 0 && (uid_t)c->settings.uid != geteuid();
	w->started_ms = now_ms();
	w->pidfd = w->lane = w->lane_far = -1;
	w->stdio[0] = w->stdio[1] = w->stdio[2] = -1;
	TAILQ_INIT(&w->handoffs);
	return w;
}

int worker_start(struct cluster *c, struct slot *slot, struct umbel_worker **ret)
{
	char path[PATH_MAX];
	struct umbel_worker *w;
	enum kind kind = KIND_NONE;
	int ends[2], err = find_program(c, &kind, path, sizeof(path));

	if (err)
		return err;
	w = worker_new(c, slot, kind);
	if (!w)
		return reason_set(c->reason, -ENOMEM, "out of memory");
	err = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
	if (!err) {
		err = spawn_it(w, path, ends[1]);
		fd_close(&ends[1]);
		if (err)
			fd_close(&ends[0]);
	}
	if (err) {
		free(w);
		return reason_set(c->reason, err, "cannot start a worker: %s", strerror(-err));
	}
	attach(w, ends[0]);
	c->last_id++;
	slot->worker = w;
	TAILQ_INSERT_TAIL(&c->workers, w, link);
	events_add(c->events, UMBEL_FORK, w, "", 0);
	*ret = w;
	return 0;
}
