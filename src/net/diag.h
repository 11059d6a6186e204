/* diag: what the kernel says of sockets by port: sock_diag(7), over libmnl, and TCP_INFO. No privilege
 * needed. */
#ifndef UMBEL_NET_DIAG_H
#define UMBEL_NET_DIAG_H

#include "base/address.h"

#include <stdbool.h>
#include <stdint.h>

struct diag; /* a netlink socket and its buffer */

int diag_open(struct diag **ret); /* 0 or -errno */
void diag_close(struct diag *d);  /* NULL is fine */

struct diag_queue {
	unsigned waiting; /* connections to be accepted; udp: bytes to be read */
	unsigned backlog; /* how many may wait; udp: bytes (SO_RCVBUF) */
	bool is_shut;     /* it listens no more: somebody called shutdown(2) */
};

/* Of a listening TCP, a listening unix or a UDP socket. 0 or -errno. */
int diag_queue(int fd, struct diag_queue *ret);

/* A handshake that is not over: the client's address and port. */
struct diag_peer {
	uint8_t address[16]; /* IPv4 is mapped into IPv6 */
	uint16_t port;
};

/* Half-open handshakes with a local tcp port (SYN_RECV), at most `most` of them. How many there are (may be more
 * than most), or -errno. */
int diag_half_open(struct diag *d, int port, struct diag_peer *ret, unsigned most);

struct diag_clients {
	unsigned connections; /* established, or closed by the client only; accepted or still queued */
	unsigned busiest;     /* of them, of the client address that has most */
	char address[ADDRESS_HOST_MAX]; /* that one; "" when there are none */
};

/* Connections with a local tcp port. With find_busiest false only .connections is set, and it is cheaper. 0 or
 * -errno. */
int diag_clients(struct diag *d, int port, bool find_busiest, struct diag_clients *ret);

#endif
