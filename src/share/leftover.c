#include "share/leftover.h"

#include "base/fd.h"
#include "base/proc.h"
#include "net/connections.h"
#include "share/sharing.h"

#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <unistd.h>

enum { MOST = 1024 };

static int collect(const struct receiver *r, struct inodes *ret)
{
	struct share *s;
	int err = 0;

	TAILQ_FOREACH (s, &r->sharing->shares, link) {
		const struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			if (!err && side->is_program && side->owner == r->id)
				err = inodes_add_fd(ret, side->listener.fd);
	}
	return err;
}

/* A worker could have given its socket to anybody: only who is of its user (root's may have become another), has a
 * filter and was not started by us. */
static bool may_be_of(const struct receiver *r, pid_t pid)
{
	const struct umbel_settings *s = r->sharing->settings;
	uid_t wanted = s->uid >= 0 ? (uid_t)s->uid : geteuid(), uid = wanted + 1;
	pid_t parent = 0, group = 0;
	char path[64], line[256];
	int seccomp = 0;
	FILE *f;

	if (pid == getpid() || !proc_family(pid, &parent, &group) || group == r->pid || parent == getpid())
		return false;
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

/* What was seen by number is looked at again when nobody else can have that number. */
static bool end(pid_t pid, const struct inodes *sockets)
{
	int pidfd = pidfd_open(pid, 0);
	bool ended = pidfd >= 0 && inodes_next_holder(sockets, pid - 1) == pid &&
		     pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0;

	fd_close(&pidfd);
	return ended;
}

unsigned leftover_end(const struct receiver *r)
{
	struct inodes sockets = {0};
	pid_t pid = 0, first = 0;
	unsigned count = 0;

	if (collect(r, &sockets) == 0)
		for (int i = 0; i < MOST && (pid = inodes_next_holder(&sockets, pid)) > 0; i++) {
			if (!may_be_of(r, pid) || !end(pid, &sockets))
				continue;
			first = first ? first : pid;
			count++;
		}
	inodes_finish(&sockets);
	if (count)
		events_add_note(r->sharing->events, r->slot, "leftover", "pid %d went into the background: pid %d%s had its "
				"socket and was ended. Let it stay in the foreground (nginx: -g 'daemon off;')", (int)r->pid,
				(int)first, count > 1 ? " and others" : "");
	return count;
}
