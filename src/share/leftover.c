#include "share/leftover.h"

#include "base/fd.h"
#include "base/proc.h"
#include "share/sharing.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <unistd.h>

enum {
	MOST = 1024,
	ANCESTORS = 64, /* of a process, that are looked at */
};

/* One that was asked to end. */
struct leftover {
	TAILQ_ENTRY(leftover) link;
	struct sharing *sharing;
	int pidfd;
	uv_poll_t death;
	uv_timer_t grace;
	unsigned open_handles;
};

/* ---- whose ---- */

static bool leads_living(const struct sharing *sharing, pid_t dead, pid_t pid)
{
	const struct receiver *r;

	TAILQ_FOREACH (r, &sharing->receivers, link)
		if (r->pid == pid && pid != dead)
			return true;
	return false;
}

/* Of the tree or the group of a worker that lives; or ours, between fork and exec, when it has all that we have.
 * As process 1 we are also the parent of who was left behind. */
static bool is_of_living(const struct sharing *sharing, pid_t dead, pid_t pid)
{
	pid_t parent, group;

	for (int i = 0; i < ANCESTORS && proc_family(pid, &parent, &group); i++) {
		if (leads_living(sharing, dead, pid) || leads_living(sharing, dead, group))
			return true;
		if (parent == getpid())
			return !proc_has_executed(pid);
		if (parent <= 1)
			return false;
		pid = parent;
	}
	return true; /* it is dead, or who knows */
}

/* A worker could have given its socket to anybody: only who is of its user (root's may have become another), and
 * has a filter. */
static bool is_alike(const struct sharing *sharing, pid_t pid)
{
	const struct umbel_settings *s = sharing->settings;
	uid_t wanted = s->uid >= 0 ? (uid_t)s->uid : geteuid(), uid = wanted + 1;
	char path[64], line[256];
	int seccomp = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		sscanf(line, "Uid: %*u %u", &uid);
		sscanf(line, "Seccomp: %d", &seccomp);
	}
	if (f)
		fclose(f);
	return (uid == wanted || wanted == 0) && seccomp == 2; /* SECCOMP_MODE_FILTER */
}

/* What costs most comes last. */
static bool may_be_of(const struct sharing *sharing, pid_t worker, pid_t pid)
{
	pid_t parent, group;

	return pid > 1 && pid != getpid() && proc_family(pid, &parent, &group) && group != worker &&
	       !is_of_living(sharing, worker, pid) && is_alike(sharing, pid);
}

static unsigned find_holders(const struct sharing *sharing, pid_t worker, const struct inodes *sockets,
			     pid_t ret[MOST])
{
	DIR *proc = sockets->count ? opendir("/proc") : NULL;
	unsigned count = 0;

	for (const struct dirent *e; proc && count < MOST && (e = readdir(proc));) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

		if (may_be_of(sharing, worker, pid) && inodes_are_with(sockets, pid))
			ret[count++] = pid;
	}
	if (proc)
		closedir(proc);
	return count;
}

/* Its own, but those that are among `but`. */
static int add_sides(const struct receiver *r, const struct inodes *but, struct inodes *ret)
{
	struct share *s;
	int err = 0;

	TAILQ_FOREACH (s, &r->sharing->shares, link) {
		const struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			if (!err && side->is_program && side->owner == r->id && !inodes_have(but, side->listener.fd))
				err = inodes_add_fd(ret, side->listener.fd);
	}
	return err;
}

/* ---- their end ---- */

static void on_closed(uv_handle_t *handle)
{
	struct leftover *l = handle->data;

	if (--l->open_handles == 0)
		free(l);
}

static void forget(struct leftover *l)
{
	TAILQ_REMOVE(&l->sharing->leftovers, l, link);
	uv_close((uv_handle_t *)&l->death, on_closed);
	uv_close((uv_handle_t *)&l->grace, on_closed);
	fd_close(&l->pidfd);
}

static void on_death(uv_poll_t *poll, int status, int events)
{
	forget(poll->data);
}

static void on_grace(uv_timer_t *timer)
{
	const struct leftover *l = timer->data;

	pidfd_send_signal(l->pidfd, SIGKILL, NULL, 0);
}

/* Takes pidfd on success. */
static bool ask(struct sharing *sharing, int pidfd, uint64_t grace_ms)
{
	struct leftover *l = calloc(1, sizeof(*l));

	if (!l || uv_poll_init(sharing->loop, &l->death, pidfd) < 0) {
		free(l);
		return false;
	}
	uv_timer_init(sharing->loop, &l->grace);
	l->sharing = sharing;
	l->pidfd = pidfd;
	l->death.data = l->grace.data = l;
	l->open_handles = 2;
	TAILQ_INSERT_TAIL(&sharing->leftovers, l, link);
	uv_poll_start(&l->death, UV_READABLE, on_death);
	uv_update_time(sharing->loop); /* the last turn may be long ago */
	uv_timer_start(&l->grace, on_grace, grace_ms, 0);
	pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
	return true;
}

/* What was seen by number is looked at again when nobody else can have that number. */
static bool end(const struct remains *r, pid_t pid)
{
	int pidfd = pidfd_open(pid, 0);
	bool ended = pidfd >= 0 && inodes_are_with(&r->sockets, pid);

	if (ended && r->grace_ms && ask(r->sharing, pidfd, r->grace_ms))
		return true;
	if (ended)
		ended = pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0;
	fd_close(&pidfd);
	return ended;
}

void leftover_kill_all(struct sharing *sharing)
{
	const struct leftover *l;

	TAILQ_FOREACH (l, &sharing->leftovers, link)
		pidfd_send_signal(l->pidfd, SIGKILL, NULL, 0);
}

void leftover_close(struct sharing *sharing)
{
	leftover_kill_all(sharing);
	while (!TAILQ_EMPTY(&sharing->leftovers))
		forget(TAILQ_FIRST(&sharing->leftovers));
}

/* ---- a worker's ---- */

struct remains leftover_look(const struct receiver *worker, uint64_t grace_ms)
{
	static const struct inodes none;
	struct remains r = {.sharing = worker->sharing, .pid = worker->pid, .slot = worker->slot,
			    .grace_ms = grace_ms};

	if (worker->slot == 0 || add_sides(worker, &none, &r.sockets) < 0)
		inodes_finish(&r.sockets);
	return r;
}

static void tell(const struct remains *r, const char *way, unsigned count, pid_t first)
{
	events_add_note(r->sharing->events, r->slot, "leftover", "pid %d %s: pid %d%s had its socket and was ended. Let "
			"it stay in the foreground (nginx: -g 'daemon off;')", (int)r->pid, way, (int)first,
			count > 1 ? " and others" : "");
}

unsigned leftover_end(struct remains *r, bool left_by_itself)
{
	pid_t holders[MOST], first = 0;
	unsigned found = find_holders(r->sharing, r->pid, &r->sockets, holders), count = 0;

	for (unsigned i = 0; i < found; i++)
		if (end(r, holders[i]) && count++ == 0)
			first = holders[i];
	inodes_finish(&r->sockets);
	if (count && left_by_itself)
		tell(r, "went into the background", count, first);
	else if (count && !r->sharing->told_leftover)
		tell(r, "has left something in the background (said once)", count, first);
	r->sharing->told_leftover |= count && !left_by_itself;
	return count;
}

int leftover_open_sockets(const struct receiver *r, struct inodes *ret)
{
	struct inodes open = {0}, elsewhere = {0};
	pid_t holders[MOST];
	unsigned found;
	int err = inodes_of_tree(r->pid, &open);

	if (!err)
		err = add_sides(r, &open, &elsewhere);
	found = err ? 0 : find_holders(r->sharing, r->pid, &elsewhere, holders);
	for (unsigned i = 0; i < found && !err; i++)
		err = inodes_add_process(&open, holders[i]) == -ENOMEM ? -ENOMEM : 0;
	inodes_finish(&elsewhere);
	if (err) {
		inodes_finish(&open);
		return err;
	}
	inodes_sort(&open);
	*ret = open;
	return 0;
}
