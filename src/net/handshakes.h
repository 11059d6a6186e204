/* handshakes: those with a tcp port that were under way when new connections were led elsewhere. They are steered
 * nowhere else (K28): who is to leave waits until they are over. */
#ifndef UMBEL_NET_HANDSHAKES_H
#define UMBEL_NET_HANDSHAKES_H

#include <stdbool.h>
#include <stdint.h>

struct diag;
struct diag_peer;

struct handshakes {
	struct diag_peer *peers; /* NULL: none */
	unsigned count;
};

/* Both walk through all tcp sockets (diag.h), the second only if there were some; d NULL: none are seen. */
void handshakes_remember(struct handshakes *h, struct diag *d, int port);
bool handshakes_are_left(const struct handshakes *h, struct diag *d, int port); /* one of them is under way */
void handshakes_forget(struct handshakes *h);

#endif
