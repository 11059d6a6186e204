/* pads: sockets of ours that are the last of a group of programs' own, steered to by nobody. When a program calls
 * shutdown(2) on its socket, as some do when they end, the kernel moves the last of the group into the gap at once (K3,
 * K5), before we know: that is a pad then, and no socket that others are steered to by its old index. Tcp only. */
#ifndef UMBEL_SHARE_PADS_H
#define UMBEL_SHARE_PADS_H

#include "net/group.h"

struct share;

enum { PADS = 2 }; /* so many may leave before we look */

struct pad {
	struct group_member member;
	bool is_open;
};

void pads_add(struct share *s);  /* somebody has joined the group: they are the last again. They may be missing */
void pads_drop(struct share *s); /* the group is given up, or made anew */

/* Who was steered to one that left meanwhile is to see an end. */
void pads_empty(struct share *s);

#endif
