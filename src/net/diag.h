/* diag: what the kernel says of sockets by port: sock_diag(7), over libmnl, and TCP_INFO. No privilege
 * needed. It sees its own network namespace.
 *
 * Nothing here waits for anybody, but the dumps (diag_half_open, diag_clients) take the time of a walk through
 * all TCP sockets of the machine, TIME_WAIT and other ports' included, whatever is asked for: 0.4 ms when there
 * are none, 0.1 to 0.2 us for each, and 0.8 us for each connection that is counted. 10,000 connections take 11 ms
 * when their clients are on this machine too, 100,000 take 130 ms. Not for every turn of a loop. */
#ifndef UMBEL_NET_DIAG_H
#define UMBEL_NET_DIAG_H

#include "base/address.h"

#include <stdbool.h>
#include <stdint.h>

struct inet_diag_msg;
struct nlmsghdr;
struct diag; /* a netlink socket and its buffer */

int diag_open(struct diag **ret); /* 0 or -errno */
void diag_close(struct diag *d);  /* NULL is fine */

struct diag_queue {
	unsigned waiting; /* connections to be accepted; udp: bytes of the buffer that are taken, overhead included */
	unsigned backlog; /* how many may wait; udp: bytes of the buffer (SO_RCVBUF) */
	bool is_shut;     /* it listens no more: somebody called shutdown(2); udp: false */
};

/* Of a listening TCP, a listening unix or a UDP socket: 1 us, unix 15 us (it opens a netlink socket for the time
 * of the call: a descriptor must be free). 0 or -errno: -EINVAL: it does not listen and was not shut down;
 * -EOPNOTSUPP: another kind of socket; unix: -ENOENT: the kernel has no unix_diag, or the socket is of another
 * network namespace. */
int diag_queue(int fd, struct diag_queue *ret);

/* A handshake that is not over: the client's address and port. */
struct diag_peer {
	uint8_t address[16]; /* IPv4 is mapped into IPv6 */
	uint16_t port;
};

/* Half-open handshakes with a local tcp port (SYN_RECV), on any local address, at most `most` of them. How many
 * there are (may be more than most), or -errno; -ENOENT: the kernel has no tcp_diag; -EINTR: it changed while it
 * was read, twice. */
int diag_half_open(struct diag *d, int port, struct diag_peer *ret, unsigned most);

/* Sockets that listen at the very address of fd, a tcp socket: the members of its reuseport group, other processes'
 * too. Their inode numbers, at most `most` of them, in no order. How many there are (may be more than most), or
 * -errno as above. A walk through the listening sockets only: 25 us,
 * and 0.3 us for each member. */
int diag_members(struct diag *d, int fd, uint32_t *ret, unsigned most);

struct diag_clients {
	unsigned connections; /* established, or closed by the client only; accepted or still queued */
	unsigned busiest;     /* of them, of the client address that has most */
	char address[ADDRESS_HOST_MAX]; /* that one; "" when there are none */
};

/* Connections with a local tcp port, on any local address. With find_busiest false only .connections is set, and
 * it is a little cheaper. 131,072 different client addresses are told apart (8 MiB at most, for the time of the
 * call); of more, those that the kernel names first, and it names them in no order. 0 or -errno, as above, and
 * -ENOMEM. */
int diag_clients(struct diag *d, int port, bool find_busiest, struct diag_clients *ret);

/* The same connections one by one, as the kernel says them: the message's attribute INET_DIAG_INFO is the
 * connection's TCP_INFO. 0 or -errno, of the handler too; -EINTR: they changed meanwhile: forget those, ask again. */
typedef int diag_row_handler(const struct inet_diag_msg *row, const struct nlmsghdr *message, void *data);
int diag_connections(struct diag *d, int port, diag_row_handler *on_row, void *data);
int diag_listeners(struct diag *d, int port, diag_row_handler *on_row, void *data); /* likewise; cheap as diag_members() */

/* After a walk that took so long: when the next one may be, so that a twentieth of the time at most goes into them. */
static inline unsigned diag_pause_ms(uint64_t took_ns, unsigned least_ms)
{
	uint64_t ms = took_ns * 20 / 1000000;

	return ms < least_ms ? least_ms : (unsigned)ms;
}

#endif
