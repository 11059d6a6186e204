/* environment: what a worker is told by its environment, which it reads once and then clears of it. */
#ifndef UMBEL_WORKER_ENVIRONMENT_H
#define UMBEL_WORKER_ENVIRONMENT_H

#include "base/reason.h"

/* A decimal number from 0 on; -1: not there or not one. */
long environment_number(const char *name);

/* The channel, close-on-exec and no standard stream. -EPROTO: there is none that we can use. */
int environment_channel(struct reason *reason, int *ret);

/* Whose death is to be ours. -EPROTO: that is not our parent (any more). */
int environment_follow(struct reason *reason);

void environment_forget(void); /* so that no child takes itself for the worker */

#endif
