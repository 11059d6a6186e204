#include "life/probe.h"

#include "base/fd.h"
#include "life/crew.h"
#include "life/worker.h"
#include "program/settings.h"
#include "program/spawn.h"
#include "share/share.h"
#include "share/steering.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	FIRST_PAUSE_MS = 100,
	MOST_PAUSE_MS = 1000,
	RUN_MS = 10000, /* longer none takes */
	LAST_READS = 32, /* of what it said before it ended */
	ALONE_MS = 1000, /* until a worker takes connections because nobody else does */
	THEIR_SOCKET = 3,
	THEIR_CHANNEL = 4, /* spawn.h wants one; nobody reads what it says */
};

/* One process. It outlives its probe until it is reaped. */
struct run {
	struct probe *probe; /* NULL: nobody waits for its answer */
	pid_t pid;
	int pidfd, says;  /* its stderr */
	uv_poll_t death, saying;
	unsigned open_handles;
	char line[160];   /* the last that it said */
	size_t length;
	bool line_is_over;
};

struct probe {
	struct umbel_worker *worker; /* NULL: over */
	uv_timer_t timer; /* the next run, or the end of this one's time */
	uv_timer_t alone;
	unsigned open_handles; /* of those two */
	struct run *run;  /* NULL: a pause */
	unsigned runs;
	uint32_t pause_ms;
	int socket;       /* kept, so that its port is nobody else's while it is steered by */
	bool has_its_way; /* a run came by its socket: no shared address is asked */
	char last[256];   /* how the last run ended, and what it said */
};

static void start(struct probe *p);

/* ---- a socket to reach this worker by ---- */

union name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static bool takes_v4(int fd)
{
	union name a = {.any.sa_family = AF_UNSPEC};
	socklen_t length = sizeof(a), size = sizeof(int);
	int v6_only = 0;

	if (getsockname(fd, &a.any, &length) < 0 || a.any.sa_family != AF_INET6)
		return a.any.sa_family == AF_INET;
	if (!IN6_IS_ADDR_UNSPECIFIED(&a.v6.sin6_addr))
		return IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr);
	return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, &size) == 0 && !v6_only;
}

/* The one to ask its listeners by: IPv4, if any of them takes that. AF_UNSPEC: it has no side. */
static int find_family(const struct umbel_worker *w)
{
	const struct share *s;
	const struct side *side;
	int family = AF_UNSPEC;

	TAILQ_FOREACH (s, &w->crew->sharing.shares, link) {
		side = s->listener.address.kind == ADDRESS_TCP ? sides_find(s, &w->receiver) : NULL;
		if (side && takes_v4(side->listener.fd))
			return AF_INET;
		if (side)
			family = AF_INET6;
	}
	return family;
}

static int bind_to_loopback(int fd, int family, uint16_t *ret_port)
{
	union name a = {.any.sa_family = (sa_family_t)family};
	socklen_t length = family == AF_INET ? sizeof(a.v4) : sizeof(a.v6);

	if (family == AF_INET)
		a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		a.v6.sin6_addr = in6addr_loopback;
	if (bind(fd, &a.any, length) < 0 || getsockname(fd, &a.any, &length) < 0)
		return -errno;
	*ret_port = ntohs(a.v4.sin_port); /* where IPv6 has it too */
	return 0;
}

/* Without one the command comes by the door, as anybody. */
static void open_socket(struct probe *p)
{
	int family = find_family(p->worker);

	if (family == AF_UNSPEC)
		return;
	p->socket = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->socket < 0 || bind_to_loopback(p->socket, family, &p->worker->receiver.probe_port) < 0)
		fd_close(&p->socket);
	else
		steering_update_all(&p->worker->crew->sharing);
}

static void look_at_socket(struct probe *p)
{
	union name peer;
	socklen_t length = sizeof(peer);

	p->has_its_way |= p->socket >= 0 && getpeername(p->socket, &peer.any, &length) == 0;
}

static void close_socket(struct probe *p, struct crew *crew)
{
	if (p->socket < 0)
		return;
	look_at_socket(p);
	p->worker->receiver.probe_port = 0;
	steering_update_all(&crew->sharing); /* this first: the port may be anybody's afterwards */
	fd_close(&p->socket);
}

/* ---- one run ---- */

static void hear(struct run *run, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] == '\n') {
			run->line_is_over = true;
			continue;
		}
		if (run->line_is_over)
			run->length = 0;
		run->line_is_over = false;
		if (run->length < sizeof(run->line) - 1)
			run->line[run->length++] = iscntrl((unsigned char)bytes[i]) ? ' ' : bytes[i];
	}
}

static ssize_t listen_to(struct run *run)
{
	char bytes[4096];
	ssize_t n = read(run->says, bytes, sizeof(bytes));

	if (n > 0)
		hear(run, bytes, (size_t)n);
	return n;
}

static void on_saying(uv_poll_t *poll, int status, int events)
{
	ssize_t n = listen_to(poll->data);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		uv_poll_stop(poll);
}

static void say_how(struct probe *p, struct run *run, const siginfo_t *info)
{
	size_t length;

	if (info->si_code == CLD_EXITED)
		snprintf(p->last, sizeof(p->last), "exited with %d", info->si_status);
	else if (!p->last[0]) /* else we have killed it */
		snprintf(p->last, sizeof(p->last), "was killed by signal %d", info->si_status);
	for (int i = 0; i < LAST_READS && listen_to(run) > 0; i++)
		;
	run->line[run->length] = '\0';
	length = strlen(p->last);
	if (run->length > 0)
		snprintf(p->last + length, sizeof(p->last) - length, ": %s", run->line);
}

static void on_pause_over(uv_timer_t *timer)
{
	start(timer->data);
}

static void pause_before_next(struct probe *p)
{
	uv_timer_start(&p->timer, on_pause_over, p->pause_ms, 0);
	p->pause_ms = 2 * p->pause_ms < MOST_PAUSE_MS ? 2 * p->pause_ms : MOST_PAUSE_MS;
}

static void on_run_closed(uv_handle_t *handle)
{
	struct run *run = handle->data;

	if (--run->open_handles == 0)
		free(run);
}

static void kill_run(const struct run *run)
{
	kill(-run->pid, SIGKILL);
}

static void on_run_over(uv_poll_t *poll, int status, int events)
{
	struct run *run = poll->data;
	struct probe *p = run->probe;
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)run->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0)
		return;
	kill_run(run); /* what it left behind; its number is still taken */
	waitid(P_PIDFD, (id_t)run->pidfd, &info, WEXITED | WNOHANG);
	if (p)
		say_how(p, run, &info);
	uv_close((uv_handle_t *)&run->death, on_run_closed);
	uv_close((uv_handle_t *)&run->saying, on_run_closed);
	fd_close(&run->pidfd);
	fd_close(&run->says);
	if (!p)
		return;
	p->run = NULL;
	uv_timer_stop(&p->timer);
	close_socket(p, p->worker->crew);
	if (info.si_code == CLD_EXITED && info.si_status == 0)
		worker_happens(p->worker, WORKER_SERVES); /* which ends the probe */
	else
		pause_before_next(p);
}

static void on_time_over(uv_timer_t *timer)
{
	struct probe *p = timer->data;

	snprintf(p->last, sizeof(p->last), "took longer than %d s", RUN_MS / 1000);
	kill_run(p->run);
}

/* It is no worker: neither a channel nor sockets are its own, and its word is not the worker's. */
static bool is_workers_alone(const char *entry)
{
	static const char *const names[] = {"UMBEL_CHANNEL=", "NODE_CHANNEL_", "NODE_UNIQUE_ID=", "LISTEN_",
					    "NOTIFY_SOCKET=", "WATCHDOG_", "UMBEL_PROBE_FD="};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(entry, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* The entries are the worker's; one that was a spare has none of its slot. NULL: no memory. */
static char **make_environment(const struct probe *p, char slot[32])
{
	char **theirs = p->worker->environment;
	static char variable[] = "UMBEL_PROBE_FD=3";
	size_t count = 0;
	char **environment;

	while (theirs[count])
		count++;
	environment = calloc(count + 3, sizeof(*environment));
	count = 0;
	snprintf(slot, 32, "UMBEL_SLOT=%d", p->worker->receiver.slot);
	if (environment && !environment_value(theirs, "UMBEL_SLOT"))
		environment[count++] = slot;
	for (; environment && *theirs; theirs++)
		if (!is_workers_alone(*theirs))
			environment[count++] = *theirs;
	if (environment && p->socket >= 0)
		environment[count] = variable;
	return environment;
}

static int spawn_it(struct probe *p, struct run *run)
{
	const struct crew *crew = p->worker->crew;
	char *const *argv = crew->settings->ready_command;
	char path[PATH_MAX], slot[32], **environment = make_environment(p, slot);
	int pipe[2] = {-1, -1}, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int err = null < 0 || pipe2(pipe, O_CLOEXEC) < 0 ? -errno : fd_set_nonblocking(pipe[0], true);
	struct spawn spawn = {
	    .path = path,
	    .argv = argv,
	    .env = environment,
	    .cwd = crew->settings->cwd,
	    .uid = crew->settings->uid,
	    .gid = crew->settings->gid,
	    .fds = {null, null, pipe[1], p->socket, null, -1, -1, -1},
	    .channel = THEIR_CHANNEL,
	    .nofile = crew->nofile,
	};

	if (!environment)
		err = -ENOMEM;
	err = err ? err : spawn_find(argv[0], crew->settings->cwd, path, sizeof(path));
	err = err ? err : spawn_process(&spawn, &run->pid, &run->pidfd);
	run->says = err ? -1 : fd_steal(&pipe[0]);
	fd_close(&pipe[0]);
	fd_close(&pipe[1]);
	fd_close(&null);
	free(environment);
	return err;
}

/* As a run that failed: memory may come back, a program that is missing may be put there. */
static void could_not_start(struct probe *p, int err)
{
	struct umbel_worker *w = p->worker;
	const char *name = w->crew->settings->ready_command[0];
	char why[sizeof(p->last)];

	snprintf(why, sizeof(why), "cannot start: %s", strerror(-err));
	if (strcmp(why, p->last) != 0)
		worker_note(w, "ready", "%s: %s", name, why);
	memcpy(p->last, why, sizeof(p->last));
	close_socket(p, w->crew);
	pause_before_next(p);
}

static void start(struct probe *p)
{
	struct umbel_worker *w = p->worker;
	struct run *run;
	int err;

	if (!w->crew->settings->ready_command || !w->environment) { /* there is none any more */
		worker_happens(w, WORKER_SERVES);
		return;
	}
	run = calloc(1, sizeof(*run));
	open_socket(p);
	p->runs++;
	err = run ? spawn_it(p, run) : -ENOMEM;
	if (err) {
		free(run);
		could_not_start(p, err);
		return;
	}
	p->last[0] = '\0';
	p->run = run;
	run->probe = p;
	uv_poll_init(w->crew->loop, &run->death, run->pidfd);
	run->death.data = run;
	uv_poll_start(&run->death, UV_READABLE, on_run_over);
	uv_poll_init(w->crew->loop, &run->saying, run->says);
	run->saying.data = run;
	uv_poll_start(&run->saying, UV_READABLE, on_saying);
	run->open_handles = 2;
	uv_timer_start(&p->timer, on_time_over, RUN_MS, 0);
}

/* ---- all of them ---- */

static bool anybody_takes(const struct crew *crew)
{
	const struct umbel_worker *w;

	TAILQ_FOREACH (w, &crew->workers, link)
		if (w->receiver.takes && w->state <= UMBEL_STATE_READY && !w->is_spare)
			return true;
	return false;
}

/* A command that asks the shared address (curl) would wait for who takes, and they for the command. */
static void on_alone(uv_timer_t *timer)
{
	struct probe *p = timer->data;

	look_at_socket(p);
	if (!p->has_its_way && !anybody_takes(p->worker->crew))
		worker_set_takes(p->worker, true);
}

void probe_begin(struct umbel_worker *w)
{
	struct probe *p;

	if (w->probe || w->state != UMBEL_STATE_STARTING)
		return;
	p = calloc(1, sizeof(*p));
	if (!p) { /* no answer is none */
		worker_happens(w, WORKER_END);
		return;
	}
	p->worker = w;
	p->pause_ms = FIRST_PAUSE_MS;
	p->socket = -1;
	uv_timer_init(w->crew->loop, &p->timer);
	uv_timer_init(w->crew->loop, &p->alone);
	p->timer.data = p->alone.data = p;
	p->open_handles = 2;
	uv_timer_start(&p->alone, on_alone, ALONE_MS, ALONE_MS);
	w->probe = p;
	start(p);
}

static void on_probe_closed(uv_handle_t *handle)
{
	struct probe *p = handle->data;

	if (--p->open_handles == 0)
		free(p);
}

static void say_late(const struct probe *p, struct umbel_worker *w)
{
	worker_note(w, "ready", "pid %d is not ready in time: the ready command was run %u time%s, the last one %s",
		    (int)w->receiver.pid, p->runs, p->runs == 1 ? "" : "s", p->last[0] ? p->last : "has not ended");
}

void probe_end(struct umbel_worker *w)
{
	struct probe *p = w->probe;

	strings_free(w->environment);
	w->environment = NULL;
	if (!p)
		return;
	w->probe = NULL;
	if (w->late)
		say_late(p, w);
	if (p->run) {
		p->run->probe = NULL;
		kill_run(p->run);
	}
	close_socket(p, w->crew);
	uv_close((uv_handle_t *)&p->timer, on_probe_closed);
	uv_close((uv_handle_t *)&p->alone, on_probe_closed);
}
