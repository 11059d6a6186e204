/* activation: sockets that a program finds open at its start, as systemd gives them (sd_listen_fds(3)): of each address
 * in settings.listen its slot's own. They are offered to every worker that has to be met at bind(2), because nobody
 * knows beforehand which programs understand that: who binds or asks on the channel instead gives them back. The offer is in
 * activation.c, what becomes of it in offered.c. */
#ifndef UMBEL_LIFE_ACTIVATION_H
#define UMBEL_LIFE_ACTIVATION_H

#include "base/reason.h"
#include "program/kind.h"
#include "share/share.h"

#include <limits.h>

#define ACTIVATION_MOST 16 /* addresses */
#define ACTIVATION_FIRST 3 /* SD_LISTEN_FDS_START */

/* What one worker finds. */
struct activation {
	int sockets[ACTIVATION_MOST]; /* borrowed */
	unsigned count;               /* 0: nothing is offered */
	char fds[32], names[ACTIVATION_MOST * (NAME_MAX + 2) + 32]; /* LISTEN_FDS=..., LISTEN_FDNAMES=... */
};

/* -EINVAL: with that kind these settings cannot be. */
int activation_check(const struct umbel_settings *s, enum kind kind, struct reason *reason);

/* For its two files: the worker has a place there. */
void activation_seat(struct share *s, struct umbel_worker *w);

/* Before its fork. 0, or -errno with a reason: a program that needs its sockets cannot have them. */
int activation_offer(struct umbel_worker *w, struct activation *ret);
void activation_withdraw(struct umbel_worker *w); /* it was never started */
void activation_begin(struct umbel_worker *w);    /* it runs */
void activation_look(struct umbel_worker *w);     /* has it taken them? */
void activation_ready(struct umbel_worker *w);    /* who took them serves from now on */

/* It speaks on the channel: it will ask there. */
void activation_decline(struct umbel_worker *w);

/* The share of an address that is asked for on the channel, if it was opened for an offer: nobody takes that any more.
 * It has that key from then on. NULL: there is none. */
struct share *activation_claim(struct umbel_worker *w, const struct socket_wish *wish, const char *key);

/* It is about to bind that itself: nothing of ours may be in the way. A share of just that address stays. */
void activation_yield(struct umbel_worker *w, const struct address *a, bool ipv6_only);

#endif
