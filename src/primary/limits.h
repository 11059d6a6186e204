/* limits: who has grown too big, too old or too busy gets a successor, one at a time. */
#ifndef UMBEL_PRIMARY_LIMITS_H
#define UMBEL_PRIMARY_LIMITS_H

#include "umbel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cluster;
struct slot;

void limits_begin(struct umbel_worker *w);    /* from its start on */
bool limits_is_over(const struct umbel_worker *w, char *why, size_t size); /* one of them, as a sentence */
void limits_consider(struct cluster *c);      /* whether somebody is to be replaced now */
void limits_put_off(struct slot *slot);       /* the successor died: not again at once */

/* Pure: this worker's own limit, from the last tenth below `limit`; chance is any number. */
uint64_t limits_spread(uint64_t limit, uint32_t chance);

/* Pure: how often memory is looked at, so that a thousand workers cost no more than ten. Milliseconds. */
uint64_t limits_period_ms(unsigned workers);

#endif
