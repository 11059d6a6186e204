/* connections: which tcp connections the processes of a program have with a local port, and whether each is busy; and
 * which of a unix socket. For programs that say nothing about them. From sock_diag(7) over libmnl and /proc: K71 to K76 in
 * docs/KERNEL.md. Sees its own network namespace. */
#ifndef UMBEL_NET_CONNECTIONS_H
#define UMBEL_NET_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What one look sees of one connection. Times are how long ago, in the kernel's ticks; they count from the handshake
 * where nothing came or went. */
struct connection {
	uint64_t bytes_received, bytes_sent;
	uint32_t received_ms, sent_ms; /* data */
	uint32_t heard_ms;             /* anything, a mere acknowledgement too */
	uint32_t unread, unacked;      /* bytes in the two queues; unread: its end counts as one */
	bool half_closed;              /* the client has said all it has to say, and that counts as a byte received */
};

/* Whether it waits for nothing from the program: nothing is unread or unacknowledged, the program has sent since the
 * client did (K73), and a moment has passed since, which may be the pause in a longer answer: 200 ms, or as long as that
 * answer has lasted, 3 s at most; late, when no stream is waited for, 200 ms. Where both fell into one tick nobody knows
 * who was last (K74): it is 3 s then. Pure. */
bool connection_is_idle(const struct connection *c, bool is_late);

/* Whether one that is asked again and again, and so is never idle, is between two requests, as far as can be seen: more
 * came since the look before, nothing is owed that shows, and the last tick was quiet. Pure. */
bool connection_is_between(const struct connection *c, uint64_t received_before);

/* The sockets of a process, of all its descendants and of its process group, from /proc: inodes, ascending. Takes
 * 10 us for each process of the machine and 5 us for each descriptor of these. */
struct inode {
	uint64_t number;
	pid_t thread, process; /* who has it, and as which descriptor; some one of them */
	int fd;
	uint64_t received; /* a connection's bytes, at the last look; 0: there was none */
	bool is_idle, is_between; /* at the last look */
	bool is_unseen;           /* the same: a connection of a unix socket */
};

struct inodes {
	struct inode *list; /* NULL: none */
	size_t count, room;
};
int inodes_of_tree(pid_t root, struct inodes *ret); /* 0 or -errno; -EACCES: we may not look at root */
void inodes_finish(struct inodes *i);
bool inodes_have(const struct inodes *i, int fd); /* one of ours is among them; false also if it is none */

bool inodes_of_another(const struct inodes *i, int fd, pid_t process); /* has one of ours, and not that process */

/* One more; they are in no order then. 0 or -errno */
int inodes_add(struct inodes *i, uint64_t inode);
int inodes_add_fd(struct inodes *i, int fd); /* one of ours */
int inodes_add_process(struct inodes *i, pid_t pid); /* all of its sockets; not its descendants' */
void inodes_sort(struct inodes *i);
bool inodes_are_with(const struct inodes *i, pid_t pid); /* it has one of these, as far as we may look */

/* The process with the lowest number above `after` that has one of these sockets, as far as we may look; 0: none. */
pid_t inodes_next_holder(const struct inodes *i, pid_t after);

struct connections {
	unsigned open; /* established, or closed by the client alone */
	unsigned busy;   /* of them */
	unsigned unseen; /* of them: of a unix socket, which has no tcp_info. Nobody knows whether they are busy */
};

struct diag;

/* Connections with a local port whose inode is among `of`, where those that are idle are marked. Takes the time of a walk through all tcp sockets
 * (diag.h). 0 or -errno. */
int connections_look(struct diag *d, int port, struct inodes *of, bool is_late, struct connections *ret);

/* Lets the program see the end of those that were idle, or between two requests if that is wanted too, as if their clients had gone (shutdown(2) for reading): it
 * closes them, and a client connects anew, as when a server's keep-alive time is over. What came before is
 * still read and answered; what comes after the program has closed was not executed. Each once, and none whose client has
 * spoken meanwhile. How many; 0 also where the program's descriptors may not be copied (pidfd_getfd(2)). */
unsigned connections_end_idle(struct inodes *of, bool between);

/* Connections that were accepted from a unix socket have its name, as /proc/net/unix shows it. */
enum { CONNECTIONS_NAME = 110 };
int connections_name(int listener, char ret[CONNECTIONS_NAME]); /* 0 or -errno; -EAFNOSUPPORT: it has none */

/* Connections of that name whose inode is among `of`: they are marked. Takes 1 us for each unix socket of the machine.
 * One that is there may be missed, when others come and go meanwhile. 0 or -errno */
int connections_look_unix(const char *name, struct inodes *of, struct connections *ret);

/* As connections_end_idle(), those of unix sockets that were seen, but not one with something unread. Their clients cannot
 * write any more: EPIPE. */
unsigned connections_end_unseen(struct inodes *of);

#endif
