/* How a worker begins: what it is, its environment and descriptors, the fork. Its life: worker.c. */
#include "life/worker.h"

#include "base/fd.h"
#include "base/proc.h"
#include "life/activation.h"
#include "life/intercept.h"
#include "life/ready.h"
#include "program/generation.h"
#include "program/inspect.h"
#include "program/node_words.h"
#include "program/preload.h"
#include "program/settings.h"
#include "program/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

_Static_assert(UMBEL_STDIO_MAX == SPAWN_FDS && ACTIVATION_MOST == SPAWN_SOCKETS, "one is the other");

/* What one start is made from. */
struct start {
	struct umbel_worker *w;
	char path[PATH_MAX];
	char *const *argv; /* as the settings or the fork say */
	char **env;        /* all of it */
	char **inspected;  /* argv with a port for the debugger; NULL: as it is. The words are argv's */
	char inspect_option[32];
	char notify[NOTIFY_VARIABLE]; /* its variable; "": none, and why: */
	int notify_error;
	struct activation activation;
	bool has_reason;   /* why it failed is said */
	int theirs[UMBEL_STDIO_MAX]; /* what the child gets; -1: nothing there */
	bool opened[UMBEL_STDIO_MAX]; /* for it alone */
};

/* ---- what it executes ---- */

static char *const *argv_of(const struct crew *crew, const struct program *program)
{
	return program->argv ? program->argv : crew->settings->argv ? crew->settings->argv : crew->argv;
}

/* Its listen(2) would hang, and it end, without a word. */
static void tell_no_worker(struct crew *crew, char *const *argv, const char *path)
{
	if (crew->kind != KIND_NODE || crew->told_no_worker || !argv[0] || !kind_is_node_itself(path) ||
	    !node_words_no_worker(argv + 1))
		return;
	crew->told_no_worker = true;
	events_add_note(crew->events, 0, "share", "node makes a worker of a script only, and not with --run, --test or "
			"--watch: without --share node it is met at bind()");
}

static int find_program(struct crew *crew, const struct program *program, enum kind *ret_kind, const char **ret_why,
			char *path, size_t size)
{
	const char *given = program->exec ? program->exec : crew->settings->exec;
	const char *name = given ? given : crew->own_path ? crew->own_path : crew->argv[0];
	int err = spawn_find(name, crew->settings->cwd, path, size);

	if (err)
		return reason_set(crew->reason, err, "cannot execute %s: %s", name, strerror(-err));
	if (crew->kind != KIND_AUTO) {
		*ret_kind = crew->kind;
		*ret_why = "chosen by --share";
		tell_no_worker(crew, argv_of(crew, program), path);
	} else if (!given) {
		*ret_kind = KIND_CHANNEL;
		*ret_why = "the program of the primary itself";
	} else {
		*ret_kind = kind_of_program(name, path, argv_of(crew, program), ret_why);
	}
	return 0;
}

/* The lowest after `base` that no other worker has. */
static int free_inspect_port(const struct crew *crew, int base)
{
	struct umbel_worker *w;
	int port;

	for (int count = 1;; count++) {
		port = inspect_port_after(base, count);
		TAILQ_FOREACH (w, &crew->workers, link)
			if (w->inspect_port == port)
				break;
		if (!w)
			return port;
	}
}

static int give_it_in_argv(struct start *s, int at)
{
	int count = 0;

	while (s->argv[count])
		count++;
	s->inspected = calloc((size_t)count + 2, sizeof(*s->inspected));
	if (!s->inspected)
		return -ENOMEM;
	memcpy(s->inspected, s->argv, (size_t)(at + 1) * sizeof(*s->argv));
	s->inspected[at + 1] = s->inspect_option;
	memcpy(s->inspected + at + 2, s->argv + at + 1, (size_t)(count - at) * sizeof(*s->argv));
	return 0;
}

static int give_it_in_environment(struct start *s, const char *options)
{
	char *entry;

	if (asprintf(&entry, "NODE_OPTIONS=%s %s", options, s->inspect_option) < 0)
		return -ENOMEM;
	for (char **e = s->env; *e; e++)
		if (*e + strlen("NODE_OPTIONS=") == options) {
			free(*e);
			*e = entry;
			break;
		}
	return 0;
}

/* As in Node's cluster. A script that begins with #!node has no words of Node's in argv. */
static int give_inspect_port(struct start *s)
{
	struct umbel_worker *w = s->w;
	const char *options = environment_value(s->env, "NODE_OPTIONS");
	bool is_script = !kind_is_node_itself(s->path);
	int base = 0, at = 0;

	if (w->kind != KIND_NODE || !s->argv[0])
		return 0;
	if (!is_script)
		base = inspect_port(s->argv + 1, &at);
	if (!base)
		base = inspect_port_of_text(options);
	if (!base)
		return 0;
	w->inspect_port = free_inspect_port(w->crew, base);
	snprintf(s->inspect_option, sizeof(s->inspect_option), "--inspect-port=%d", w->inspect_port);
	return is_script ? give_it_in_environment(s, options) : give_it_in_argv(s, at);
}

/* Of the first tcp address that the operator names, for programs that ask there; what is in the environment stays. */
static void write_port(const struct umbel_worker *w, char *const *base, char *out, size_t size)
{
	struct address a;
	const char *why;

	out[0] = '\0';
	if (environment_value(base, "PORT"))
		return;
	for (char *const *l = w->crew->settings->listen; l && *l; l++)
		if (address_parse(*l, &a, &why) == 0 && a.kind == ADDRESS_TCP && a.port > 0) {
			snprintf(out, size, "PORT=%d", a.port);
			return;
		}
}

/* Its sockets' variables (sd_listen_fds(3)); the process number is written by the child. */
static void name_sockets(struct activation *a, char *ret[4])
{
	static char pid[] = "LISTEN_PID=0123456789";

	ret[0] = a->count ? a->fds : NULL;
	ret[1] = a->names;
	ret[2] = pid;
	ret[3] = NULL;
}

static int channel_place(const struct start *s)
{
	const struct umbel_worker *w = s->w;

	return spawn_channel(&(struct spawn){.channel = settings_channel(w->crew->settings),
					     .socket_count = s->activation.count});
}

static int build_environment(struct start *start)
{
	const struct umbel_worker *w = start->w;
	const struct umbel_settings *settings = w->crew->settings;
	struct generation *g = w->generation;
	char port[32], *ports[] = {port, NULL}, *sockets[4];
	char slot[32], id[32], number[40], instance[40], unique[40], max_message[48], grace[40], channel[40];
	/* A spare's slot is not known yet. */
	bool has_slot = !w->is_spare;
	char primary[PROC_IDENTITY + 16], identity[PROC_IDENTITY] = "";
	char *own[8] = {id, number, max_message, grace};
	char *of_slot[] = {slot, instance, NULL};
	char *node[] = {"NODE_CHANNEL_SERIALIZATION_MODE=json", unique, NULL, NULL};
	char *const *more[] = {ports, g->base ? NULL : settings->env, w->program->env, g->more, own,
			       has_slot ? of_slot : NULL, sockets,
			       w->kind == KIND_NODE ? node : NULL};
	char **base = g->base ? g->base : environ, *preload = NULL;
	int count = 4, err;

	if (start->notify[0])
		own[count++] = start->notify;
	if (proc_identity(getpid(), identity) == 0)
		own[count++] = primary;
	if (w->kind != KIND_NONE)
		own[count] = channel;
	write_port(w, base, port, sizeof(port));
	ports[0] = port[0] ? port : NULL;
	name_sockets(&start->activation, sockets);
	snprintf(primary, sizeof(primary), "UMBEL_PRIMARY=%s", identity);
	snprintf(slot, sizeof(slot), "UMBEL_SLOT=%d", w->receiver.slot);
	snprintf(id, sizeof(id), "UMBEL_WORKER=%u", w->receiver.id);
	snprintf(number, sizeof(number), "UMBEL_GENERATION=%u", g->number);
	snprintf(instance, sizeof(instance), "NODE_APP_INSTANCE=%d", w->receiver.slot - 1);
	snprintf(unique, sizeof(unique), "NODE_UNIQUE_ID=%u", w->receiver.id);
	snprintf(max_message, sizeof(max_message), "UMBEL_MAX_MESSAGE=%zu", settings->max_message);
	snprintf(grace, sizeof(grace), "UMBEL_GRACE_MS=%u", settings->grace_ms);
	snprintf(channel, sizeof(channel), "%s=%d", w->kind == KIND_NODE ? "NODE_CHANNEL_FD" : "UMBEL_CHANNEL",
		 channel_place(start));
	if (w->kind == KIND_NODE && settings->node_preload) {
		preload = preload_options(base, more, 4, start->argv, w->is_other_user);
		node[2] = preload;
	}
	err = environment_build(base, more, sizeof(more) / sizeof(more[0]), &start->env);
	free(preload);
	return err;
}

/* ---- its descriptors ---- */

static int open_null(struct start *s, int i)
{
	s->theirs[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
	s->opened[i] = true;
	return s->theirs[i] < 0 ? -errno : 0;
}

static int open_pipe(struct start *s, int i)
{
	int ends[2]; /* [0] is the child's */

	if (i > 2 ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 : pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	if (i == 1 || i == 2) { /* it writes there */
		int reading = ends[0];

		ends[0] = ends[1];
		ends[1] = reading;
	}
	s->theirs[i] = ends[0];
	s->w->stdio[i] = ends[1];
	s->opened[i] = true;
	return 0;
}

/* From 3 on what is closed by an exec is nobody's to inherit: each of our own is. */
static bool may_inherit(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return fd > 0 && flags >= 0 && (fd < 3 || !(flags & FD_CLOEXEC));
}

static int open_descriptor(struct start *s, int i, int channel)
{
	int setting = s->w->crew->settings->stdio[i];
	bool is_standard = i < 3;

	switch (setting) {
	case UMBEL_STDIO_PIPE:
		return open_pipe(s, i);
	case UMBEL_STDIO_CHANNEL:
		s->theirs[i] = channel;
		return 0;
	case UMBEL_STDIO_INHERIT:
		if (may_inherit(i)) {
			s->theirs[i] = i;
			return 0;
		}
		/* fallthrough */
	case UMBEL_STDIO_NONE:
		s->theirs[i] = -1;
		return is_standard ? open_null(s, i) : 0;
	default:
		s->theirs[i] = setting;
		return 0;
	}
}

static void close_descriptors(struct start *s, bool failed)
{
	for (int i = 0; i < UMBEL_STDIO_MAX; i++) {
		if (s->opened[i])
			fd_close(&s->theirs[i]);
		if (failed)
			fd_close(&s->w->stdio[i]);
	}
}

/* ---- the start ---- */

static int spawn_it(struct start *s, int channel, int filter_to)
{
	struct umbel_worker *w = s->w;
	const struct umbel_settings *settings = w->crew->settings;
	int err = activation_offer(w, &s->activation);

	s->has_reason = err;
	if (!err)
		s->notify_error = notify_open(w, s->notify); /* few say anything: it can do without */
	err = err ? err : build_environment(s);
	err = err ? err : give_inspect_port(s);
	for (int i = 0; i < UMBEL_STDIO_MAX && !err; i++)
		err = open_descriptor(s, i, channel);
	if (!err) {
		struct spawn spawn = {
		    .path = s->path,
		    .argv = s->inspected ? s->inspected : s->argv,
		    .env = s->env,
		    .cwd = settings->cwd,
		    .uid = settings->uid,
		    .gid = settings->gid,
		    .channel = settings_channel(settings),
		    .sockets = s->activation.sockets,
		    .socket_count = s->activation.count,
		    .pid_text = s->activation.count ? (char *)environment_value(s->env, "LISTEN_PID") : NULL,
		    .keep_channel = w->kind != KIND_NONE,
		    .outlives_us = w->kind == KIND_NODE,
		    .filter = filter_to >= 0 ? &w->crew->filter : NULL,
		    .filter_to = filter_to,
		    .nofile = w->crew->nofile,
		};
		memcpy(spawn.fds, s->theirs, sizeof(spawn.fds));
		err = spawn_process(&spawn, &w->receiver.pid, &w->pidfd);
	}
	close_descriptors(s, err);
	if (!err && settings->ready_command)
		w->environment = s->env;
	else
		strings_free(s->env);
	free(s->inspected);
	return err;
}

static struct umbel_worker *worker_new(struct crew *crew, int slot, enum kind kind)
{
	struct umbel_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->crew = crew;
	receiver_init(&w->receiver, &crew->sharing, w);
	w->receiver.slot = slot;
	w->is_spare = w->lacks_slot = slot == 0;
	w->receiver.id = crew->last_id + 1;
	w->kind = kind;
	w->receiver.takes = !ready_is_withheld(crew->settings);
	w->receiver.connected = kind != KIND_NONE;
	w->is_other_user = crew->settings->uid >= 0 && (uid_t)crew->settings->uid != geteuid();
	w->started_ms = worker_now_ms();
	w->chance = crew_chance(crew);
	w->pidfd = w->notify.fd = -1;
	for (int i = 0; i < UMBEL_STDIO_MAX; i++)
		w->stdio[i] = -1;
	accounts_init(&w->accounts);
	return w;
}

int worker_start(struct crew *crew, int slot, const struct program *program, struct generation *g,
		 struct umbel_worker **ret)
{
	struct start s = {.theirs = {-1, -1, -1, -1, -1, -1, -1, -1}};
	enum kind kind = KIND_NONE;
	const char *why = NULL;
	int ends[2], filter_to = -1, err;

	err = find_program(crew, program, &kind, &why, s.path, sizeof(s.path));
	if (!err && slot == 0 && !kind_can_be_held(kind))
		err = reason_set(crew->reason, -ENOTSUP, "a program of the kind '%s' cannot be held before it listens",
				 kind_name(kind));
	if (err)
		return err;
	s.argv = argv_of(crew, program);
	s.w = worker_new(crew, slot, kind);
	if (!s.w)
		return reason_set(crew->reason, -ENOMEM, "out of memory");
	s.w->kind_why = why;
	s.w->program = program;
	s.w->generation = generation_ref(g);
	err = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
	if (!err) {
		if (kind == KIND_INTERCEPT)
			err = intercept_prepare(s.w, &filter_to);
		err = err ? err : spawn_it(&s, ends[1], filter_to);
		fd_close(&ends[1]);
		fd_close(&filter_to);
		if (err)
			fd_close(&ends[0]);
	}
	if (err) {
		activation_withdraw(s.w);
		notify_close(s.w);
		intercept_destroy(s.w);
		generation_unref(s.w->generation);
		free(s.w);
		return s.has_reason ? err : reason_set(crew->reason, err, "cannot start a worker: %s", strerror(-err));
	}
	crew->last_id++;
	worker_attach(s.w, ends[0]);
	if (s.notify_error)
		events_add_note(crew->events, slot, "notify", "pid %d has no NOTIFY_SOCKET: %s",
				(int)s.w->receiver.pid, strerror(-s.notify_error));
	*ret = s.w;
	return 0;
}
