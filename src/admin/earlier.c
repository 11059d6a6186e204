#include "admin/earlier.h"

#include "base/fd.h"
#include "base/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	ROUNDS = 8,         /* what they start meanwhile is found in the next one */
	MOST = 256,         /* in a round */
	PRIMARY_MS = 2000,  /* its lock is free before it is dead */
	LEADER_MS = 200,    /* and those that the kernel kills with it are not dead at once */
	KILLED_MS = 2000,
};

struct earlier {
	char variable[PROC_IDENTITY + 16]; /* of its workers */
	pid_t pid, session;
};

struct found {
	struct pollfd processes[MOST]; /* pidfds */
	unsigned count;
};

/* ---- which ---- */

static bool read_lock(int lock, struct earlier *ret)
{
	unsigned long long started;
	char text[96], identity[PROC_IDENTITY];
	ssize_t n = pread(lock, text, sizeof(text) - 1, 0);
	int pid, session;

	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%d:%llu %d\n", &pid, &started, &session) != 3 || pid <= 1 || session < 0)
		return false;
	ret->pid = pid;
	ret->session = session;
	snprintf(identity, sizeof(identity), "%d:%llu", pid, started);
	snprintf(ret->variable, sizeof(ret->variable), "UMBEL_PRIMARY=%s", identity);
	return true;
}

void earlier_remember(int lock)
{
	char identity[PROC_IDENTITY], text[96] = "";
	int n = 0;

	if (proc_identity(getpid(), identity) == 0)
		n = snprintf(text, sizeof(text), "%s %d\n", identity, (int)getsid(0));
	/* Without memory or room nothing is known, and nobody is ended. */
	if (ftruncate(lock, 0) == 0 && pwrite(lock, text, (size_t)n, 0) < 0)
		return;
}

static bool has_variable(pid_t pid, const char *variable)
{
	char path[64], *entry = NULL;
	size_t size = 0;
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	f = fopen(path, "re");
	while (f && !found && getdelim(&entry, &size, '\0', f) > 0)
		found = strcmp(entry, variable) == 0;
	free(entry);
	if (f)
		fclose(f);
	return found;
}

static bool is_ours(pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return geteuid() == 0 || (stat(path, &st) == 0 && st.st_uid == geteuid());
}

static bool is_alive(pid_t pid)
{
	struct proc_place place;

	return proc_place(pid, &place) && !place.is_dead;
}

/* A worker leads its group and stays in the session of the primary: who has gone into the background is somewhere
 * else, and may have been meant to live on. */
static bool is_wanted(const struct earlier *e, pid_t pid, bool leaders)
{
	struct proc_place place;

	if (pid <= 1 || !proc_place(pid, &place) || place.is_dead || place.session != e->session)
		return false;
	if (leaders ? place.group != pid : is_alive(place.group))
		return false;
	return is_ours(pid) && has_variable(pid, e->variable);
}

static void add(const struct earlier *e, pid_t pid, bool leaders, struct found *ret)
{
	int pidfd = pidfd_open(pid, 0);

	/* Nobody else can have its number now: it is looked at again. */
	if (pidfd >= 0 && is_wanted(e, pid, leaders))
		ret->processes[ret->count++] = (struct pollfd){.fd = pidfd, .events = POLLIN};
	else
		fd_close(&pidfd);
}

/* Leaders, or those whose leader is dead. */
static void find(const struct earlier *e, bool leaders, struct found *ret)
{
	DIR *proc = opendir("/proc");

	ret->count = 0;
	for (const struct dirent *entry; proc && ret->count < MOST && (entry = readdir(proc));) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (is_wanted(e, pid, leaders))
			add(e, pid, leaders, ret);
	}
	if (proc)
		closedir(proc);
}

/* ---- their end ---- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void send_all(const struct found *f, int signal)
{
	for (unsigned i = 0; i < f->count; i++)
		pidfd_send_signal(f->processes[i].fd, signal, NULL, 0);
}

/* Whether all are dead before it is over. */
static bool wait_all(const struct found *f, unsigned ms)
{
	int64_t until = now_ms() + ms, left;
	bool all = true;

	for (unsigned i = 0; i < f->count; i++) {
		struct pollfd p = f->processes[i];

		left = until - now_ms();
		all &= poll(&p, 1, left > 0 ? (int)left : 0) == 1;
	}
	return all;
}

static void drop(struct found *f)
{
	for (unsigned i = 0; i < f->count; i++)
		fd_close(&f->processes[i].fd);
	f->count = 0;
}

/* It releases its lock a moment before its children hear of its death, and they end a moment after that. False: it
 * lives, whoever it is. */
static bool wait_dead(const struct earlier *e)
{
	struct found f = {.count = 0};
	char identity[PROC_IDENTITY];
	bool dead = true;
	int pidfd = pidfd_open(e->pid, 0);

	if (pidfd >= 0 && proc_identity(e->pid, identity) == 0 &&
	    strcmp(identity, strchr(e->variable, '=') + 1) == 0)
		dead = poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, PRIMARY_MS) == 1;
	fd_close(&pidfd);
	if (!dead)
		return false;
	find(e, true, &f);
	wait_all(&f, LEADER_MS);
	drop(&f);
	return true;
}

unsigned earlier_end(int lock, unsigned grace_ms, earlier_found *found, void *data)
{
	struct found f = {.count = 0};
	struct earlier e;
	unsigned count = 0;

	if (!read_lock(lock, &e) || !wait_dead(&e))
		return 0;
	for (int i = 0; i < ROUNDS; i++) {
		find(&e, false, &f);
		if (f.count == 0)
			break;
		if (count == 0)
			found(f.count, data);
		count += f.count;
		send_all(&f, SIGTERM);
		if (!wait_all(&f, grace_ms)) {
			send_all(&f, SIGKILL);
			wait_all(&f, KILLED_MS);
		}
		drop(&f);
	}
	return count;
}
