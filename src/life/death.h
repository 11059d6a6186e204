/* death: how a worker ended, as the kernel says and as we know it, and what is told of it. What it means for its slot:
 * life.h. */
#ifndef UMBEL_LIFE_DEATH_H
#define UMBEL_LIFE_DEATH_H

#include "life/life.h"

#include <signal.h>

struct umbel_worker;

struct death death_of(struct umbel_worker *w, const siginfo_t *info); /* it is dead; info: of waitid(2) */
void death_tell(struct umbel_worker *w, const siginfo_t *info, const struct death *d); /* EXIT, or FAILED */

#endif
