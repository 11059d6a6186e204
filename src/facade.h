/* facade: the whole of one umbel, for umbel.c (what umbel.h promises) and private.c (what the command
 * needs beyond it). */
#ifndef UMBEL_FACADE_H
#define UMBEL_FACADE_H

#include "base/events.h"
#include "base/reason.h"
#include "primary/cluster.h"
#include "private.h"
#include "umbel.h"
#include "worker/self.h"

struct umbel {
	struct events events;
	struct reason reason;
	struct cluster *cluster; /* the primary, or */
	struct self *self;       /* a worker */
	bool dispatching;
};

int facade_wrong_role(struct umbel *u);        /* -EPERM */
int facade_touched(struct umbel *u, int result); /* the end of each call that may have changed something */

#endif
