/* steering: which socket of a share's group the kernel gives new connections to. Computed anew whenever somebody
 * takes, or does not take any more: no new connection goes to a slot that does not serve while another does. */
#ifndef UMBEL_SHARE_STEERING_H
#define UMBEL_SHARE_STEERING_H

#include "net/buckets.h"

#include <stdbool.h>
#include <stdint.h>

struct sharing;
struct share;
struct sock_filter;

struct steering {
	struct sock_filter *program; /* that is attached; NULL: none yet */
	unsigned length, prefix; /* how much of it is for probes */
	bool doubted;    /* perhaps it is not attached any more */
	bool is_wrong;   /* it names an index that is gone */
	struct buckets *homes;       /* sticky: of all slots; NULL until then */
	uint16_t slots[BUCKETS];     /* sticky: who serves each bucket now; 0: nobody */
	uint64_t doubted_ms;         /* of uv_now(): when it was attached anew because of what arrived */
	bool failed;                 /* the kernel did not take a program, and it was said */
};

void steering_update(struct share *s);           /* nothing to do for a share without sides */

/* Something arrived where nobody is steered to. Just after a change that may be; else somebody has detached the
 * program (SO_LOCK_FILTER does not prevent it): it is attached anew. */
void steering_doubt(struct share *s);
void steering_update_all(struct sharing *sharing);
void steering_finish(struct steering *st);

#endif
