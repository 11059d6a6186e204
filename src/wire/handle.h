/* handle: what a descriptor that goes with a user's message is called on Node's wire. */
#ifndef UMBEL_WIRE_HANDLE_H
#define UMBEL_WIRE_HANDLE_H

#include <stdbool.h>

/* "net.Server" or "net.Socket" for TCP and unix stream sockets. Node dies of others: NULL, unless both
 * ends are libumbel's, then "umbel.Fd". */
const char *handle_type(int fd, bool between_libumbel);

#endif
