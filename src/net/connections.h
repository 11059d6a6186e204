/* connections: which tcp connections the processes of a program have with a local port, and whether each is busy.
 * For programs that say nothing about them. From sock_diag(7) over libmnl and /proc: facts K71 to K76 in
 * docs/KERNEL.md. Sees its own network namespace. */
#ifndef UMBEL_NET_CONNECTIONS_H
#define UMBEL_NET_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What one look saw of one connection; what is compared is all of it. */
struct connection {
	uint64_t inode;
	uint64_t bytes_received, bytes_sent; /* tcpi_* */
	uint32_t last_received_ms, last_sent_ms; /* ago: tcpi_last_data_recv, _sent */
	uint32_t unread, unacked; /* bytes in the two queues */
	bool half_closed; /* CLOSE_WAIT: the client has said all it has to say */
};

/* Whether it waits for nothing from the program: nothing is unread or unacknowledged, and the program has sent since
 * the client did (K73). Equal times (one tick) and connections that never carried a byte count as idle only if an
 * earlier look, at least 50 ms before, saw the same bytes (K74); before NULL: there was none. Pure. */
bool connection_is_idle(const struct connection *c, const struct connection *before, uint32_t ms_between);

struct connections {
	struct connection *list; /* by inode, ascending */
	size_t count;
};
void connections_finish(struct connections *c);

/* The sockets of a process and all its descendants, from /proc: inodes, ascending. They are looked for once, when no
 * new connections come any more. 0 or -errno. */
struct inodes {
	uint64_t *list;
	size_t count;
};
int inodes_of_tree(pid_t root, struct inodes *ret);
void inodes_finish(struct inodes *i);
bool inodes_have(const struct inodes *i, uint64_t inode);

struct diag;

/* Connections (established, or closed by the client alone) with a local port whose inode is among `of`. Takes
 * the time of a walk through all tcp sockets (diag.h). 0 or -errno. */
int connections_of(struct diag *d, int port, const struct inodes *of, struct connections *ret);

#endif
