/* handle: how the message that goes with a descriptor begins on Node's wire. */
#ifndef UMBEL_WIRE_HANDLE_H
#define UMBEL_WIRE_HANDLE_H

#include <stdbool.h>

#define HANDLE_UNACKED_MOST 128 /* messages with descriptors that the other side has not acknowledged */

/* For node_encode_user_handle(); a constant. TCP and unix stream sockets are Node's net.Server or
 * net.Socket, UDP ones its dgram.Socket. Node dies of others: NULL, unless both ends are libumbel's. */
const char *handle_head(int fd, bool between_libumbel);

#endif
