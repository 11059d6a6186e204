/* socket: opens the listening socket of an address. Only system calls and their rules. */
#ifndef UMBEL_NET_SOCKET_H
#define UMBEL_NET_SOCKET_H

#include "base/address.h"

#include <stdbool.h>

#define SOCKET_BACKLOG 4096 /* when the program did not ask for one; the kernel caps it (somaxconn) */

/* Binds and listens; close-on-exec, non-blocking. An AF_UNSPEC host means [::] for both families, and
 * 0.0.0.0 where there is no IPv6 (as Node). backlog <= 0: SOCKET_BACKLOG. The bound address with its
 * real port goes to ret_bound. The descriptor, or -errno as bind(2) and listen(2) give it. */
int socket_listen(const struct address *a, bool ipv6_only, int backlog, struct address *ret_bound);

#endif
