/* owner: whose a unix socket's file is, and its permissions. */
#ifndef UMBEL_NET_OWNER_H
#define UMBEL_NET_OWNER_H

#include "base/address.h"

#include <sys/types.h>

/* "USER" or "USER:GROUP", names or numbers, to ids; -1: not said. 0, or -ENOENT: nobody has that name. */
int owner_find(const char *text, uid_t *ret_uid, gid_t *ret_gid);

/* Of a socket's file, which may be another one by now: then nothing is done to it. mode 0: as it is, and `more` is
 * added. 0 or -errno. */
int owner_set(int dir, const char *name, const struct address_options *options, mode_t more);

#endif
