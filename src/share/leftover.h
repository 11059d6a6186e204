/* leftover: processes of a worker that have left its group and its tree, and serve on with its sockets when it is
 * dead: a program that went into the background, alone or under a script that stays. Nobody would supervise them. */
#ifndef UMBEL_SHARE_LEFTOVER_H
#define UMBEL_SHARE_LEFTOVER_H

#include "net/connections.h"

#include <sys/queue.h>

struct receiver;
struct sharing;

TAILQ_HEAD(leftovers, leftover); /* those that were asked to end, and have not yet */

/* What a worker that has just died had. */
struct remains {
	struct sharing *sharing;
	pid_t pid;
	int slot;
	struct inodes sockets;
	uint64_t grace_ms; /* what is left of it; 0: it was not asked to leave, or was killed */
};

struct remains leftover_look(const struct receiver *worker, uint64_t grace_ms); /* while it has its sides */

/* It is dead, and its group with it. Ends who has its sockets still, at once or, if it was asked to leave, as it would be;
 * and says so: of one that ended by itself each time, else once. How many they were. Takes the time of a walk through
 * all processes of the machine; nothing the second time. */
unsigned leftover_end(struct remains *r, bool left_by_itself);

/* The sockets of a living worker: its tree's; and where that lacks one of its own, of who has it in the background. In
 * order. 0 or -errno as inodes_of_tree(). */
int leftover_open_sockets(const struct receiver *r, struct inodes *ret);

void leftover_kill_all(struct sharing *s);
void leftover_close(struct sharing *s);

#endif
