/* strangers: sockets of other programs in a share's group. A program of the same user that binds with SO_REUSEPORT
 * joins it (K7, K8), and whatever comes or leaves after it has another index than if it were not there. So it is a
 * member like ours (net/group), that nobody is steered to. Tcp only.
 *
 * The kernel does not tell in which order a group is. But who joined since the last look is at its end, and one that
 * is gone was followed by the last one (K3), unless something else changed in between: therefore a look before each
 * change and one after it. */
#ifndef UMBEL_SHARE_STRANGERS_H
#define UMBEL_SHARE_STRANGERS_H

#include <stdbool.h>
#include <sys/queue.h>

struct share;
struct stranger;

struct strangers {
	LIST_HEAD(, stranger) list;
	unsigned count;
	unsigned changes; /* of the group, when it was looked at */
	bool unsure;      /* which of them is where */
};

enum strangers_word {
	STRANGERS_SAME,
	STRANGERS_FOLLOWED, /* they changed, and the group's table has it */
	STRANGERS_UNKNOWN,  /* they changed, and the order is to be made anew */
};

/* Says so when the first one is there, and when none is any more. Where the kernel tells nothing they stay the same. */
enum strangers_word strangers_look(struct share *s);

/* Of the group nothing but the door is left, and they, right after it. */
void strangers_restart(struct share *s);

void strangers_finish(struct share *s);

#endif
