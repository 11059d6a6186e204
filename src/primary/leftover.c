#include "primary/leftover.h"

#include "base/fd.h"
#include "base/proc.h"
#include "net/connections.h"
#include "primary/cluster.h"
#include "primary/worker.h"

#include <signal.h>
#include <sys/pidfd.h>
#include <unistd.h>

enum { MOST = 1024 };

static int collect(const struct umbel_worker *w, struct inodes *ret)
{
	struct share *s;
	int err = 0;

	TAILQ_FOREACH (s, &w->cluster->sharing.shares, link) {
		const struct side *side;

		TAILQ_FOREACH (side, &s->sides.list, link)
			if (!err && side->is_program && side->owner == w->id)
				err = inodes_add_fd(ret, side->listener.fd);
	}
	return err;
}

/* What was seen by number is looked at again when nobody else can have that number. */
static bool end(pid_t pid, const struct inodes *sockets)
{
	int pidfd = pidfd_open(pid, 0);
	bool ended = pidfd >= 0 && inodes_next_holder(sockets, pid - 1) == pid && pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0;

	fd_close(&pidfd);
	return ended;
}

unsigned leftover_end(const struct umbel_worker *w)
{
	struct inodes sockets = {0};
	pid_t pid = 0, parent, group, first = 0;
	unsigned count = 0;

	if (collect(w, &sockets) == 0)
		for (int i = 0; i < MOST && (pid = inodes_next_holder(&sockets, pid)) > 0; i++) {
			if (pid == getpid() || !proc_family(pid, &parent, &group) || group == w->pid || !end(pid, &sockets))
				continue;
			first = first ? first : pid;
			count++;
		}
	inodes_finish(&sockets);
	if (count)
		cluster_note(w->cluster, w->slot->number, "leftover", "pid %d went into the background: pid %d%s had its socket "
			     "and was ended. Let it stay in the foreground (nginx: -g 'daemon off;')", (int)w->pid, (int)first,
			     count > 1 ? " and others" : "");
	return count;
}
