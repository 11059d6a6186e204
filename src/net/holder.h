/* holder: who listens on the tcp port that somebody wants, as far as sock_diag(7) and /proc tell. */
#ifndef UMBEL_NET_HOLDER_H
#define UMBEL_NET_HOLDER_H

#include "base/address.h"

#include <stddef.h>
#include <sys/types.h>

struct diag;

struct holder {
	pid_t pid;     /* of several the lowest, but not ourselves; 0: we may not see whose it is */
	uid_t uid;     /* of the socket */
	char name[16]; /* "nginx"; "": nobody knows */
};

/* In the way of that address. 0; -ENOENT: nobody that can be seen listens there (who is bound only cannot be). Takes the
 * time of a walk through all descriptors of the machine. */
int holder_find(struct diag *d, const struct address *a, struct holder *ret);

#endif
