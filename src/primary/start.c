/* How a worker begins: what it is, its environment and descriptors, the fork. Its life: worker.c. */
#include "primary/worker.h"

#include "base/fd.h"
#include "primary/generation.h"
#include "primary/preload.h"
#include "primary/settings.h"
#include "primary/slot.h"
#include "primary/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>


static int build_environment(const struct umbel_worker *w, char ***ret)
{
	const struct umbel_settings *settings = &w->cluster->settings;
	struct generation *g = w->generation;
	char slot[32], id[32], number[40], instance[40], unique[40], max_message[48], grace[40];
	char *own[] = {slot, id, number, instance, max_message, grace, NULL};
	char *node[] = {"NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=json", unique, NULL, NULL};
	char *channel[] = {"UMBEL_CHANNEL=3", NULL};
	char *const *more[] = {g->base ? NULL : settings->env, w->slot->env, g->more, own,
			       w->kind == KIND_NODE      ? node
			       : w->kind == KIND_CHANNEL ? channel
							 : NULL};
	char **base = g->base ? g->base : environ, *preload = NULL;
	int err;

	snprintf(slot, sizeof(slot), "UMBEL_SLOT=%d", w->slot->number);
	snprintf(id, sizeof(id), "UMBEL_WORKER=%u", w->id);
	snprintf(number, sizeof(number), "UMBEL_GENERATION=%u", g->number);
	snprintf(instance, sizeof(instance), "NODE_APP_INSTANCE=%d", w->slot->number - 1);
	snprintf(unique, sizeof(unique), "NODE_UNIQUE_ID=%u", w->id);
	snprintf(max_message, sizeof(max_message), "UMBEL_MAX_MESSAGE=%zu", settings->max_message);
	snprintf(grace, sizeof(grace), "UMBEL_GRACE_MS=%u", settings->grace_ms);
	if (w->kind == KIND_NODE && settings->node_preload) {
		preload = preload_options(base, more, 3, settings->argv, w->is_other_user);
		node[3] = preload;
	}
	err = environment_build(base, more, sizeof(more) / sizeof(more[0]), ret);
	free(preload);
	return err;
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
		    .outlives_us = w->kind == KIND_NODE,
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

static struct umbel_worker *worker_new(struct slot *slot, struct generation *g, enum kind kind)
{
	struct umbel_worker *w = calloc(1, sizeof(*w));
	struct cluster *c = slot->cluster;

	if (!w)
		return NULL;
	w->cluster = c;
	w->slot = slot;
	w->id = c->last_id + 1;
	w->kind = kind;
	w->takes = !c->settings.wait_ready;
	w->connected = kind != KIND_NONE;
	w->is_other_user = c->settings.uid >= 0 && (uid_t)c->settings.uid != geteuid();
	w->started_ms = worker_now_ms();
	w->chance = cluster_chance(c);
	w->pidfd = w->lane = w->lane_far = -1;
	w->stdio[0] = w->stdio[1] = w->stdio[2] = -1;
	TAILQ_INIT(&w->handoffs);
	accounts_init(&w->accounts);
	w->generation = generation_ref(g);
	return w;
}

int worker_start(struct slot *slot, struct generation *g, struct umbel_worker **ret)
{
	struct cluster *c = slot->cluster;
	char path[PATH_MAX];
	struct umbel_worker *w;
	enum kind kind = KIND_NONE;
	int ends[2], err = find_program(c, &kind, path, sizeof(path));

	if (err)
		return err;
	w = worker_new(slot, g, kind);
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
		generation_unref(w->generation);
		free(w);
		return reason_set(c->reason, err, "cannot start a worker: %s", strerror(-err));
	}
	c->last_id++;
	worker_attach(w, ends[0]);
	*ret = w;
	return 0;
}
