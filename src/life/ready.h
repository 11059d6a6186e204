/* ready: what makes a worker ready. It listens; or it says so itself; or, if it does neither, its age. Where there is
 * a ready command all of that only begins the asking, and its success makes ready (probe.h). */
#ifndef UMBEL_LIFE_READY_H
#define UMBEL_LIFE_READY_H

#include "umbel.h"

#include <stdbool.h>

struct umbel_worker;

/* It was started. limited: it has settings.ready_ms. */
void ready_await(struct umbel_worker *w, bool limited);

void ready_listens(struct umbel_worker *w); /* ready, unless it is to say so itself */
void ready_serves(struct umbel_worker *w);  /* whatever it is to say: ready, or the asking begins */
void ready_says(struct umbel_worker *w);    /* that it is ready */
void ready_says_not_yet(struct umbel_worker *w); /* it will say it: listening is not enough */

/* A new worker is given no connection before it is ready, though it listens. */
bool ready_is_withheld(const struct umbel_settings *s);

#endif
