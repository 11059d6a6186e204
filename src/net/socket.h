/* socket: opens the listening socket of an address. Only system calls and their rules. */
#ifndef UMBEL_NET_SOCKET_H
#define UMBEL_NET_SOCKET_H

#include "base/address.h"

#include <stdbool.h>
#include <sys/types.h>

#define SOCKET_BACKLOG 4096 /* when the program did not ask for one; the kernel caps it (somaxconn) */

/* The file of a unix socket. A worker may own its directory: what is found at the path later need not
 * be what was bound. */
struct socket_file {
	int dir; /* -1: no file */
	dev_t device;
	ino_t inode;
	char name[ADDRESS_PATH_MAX];
};

/* Unlinks it if it is still the same, and forgets it. */
void socket_remove_file(struct socket_file *f);

/* What is wanted of a socket. */
struct socket_wish {
	struct address address;
	int fd;                 /* this one, which is open, and not an address; -1 */
	bool datagrams;         /* of fd */
	bool ipv6_only;
	bool reuse_address;     /* udp: SO_REUSEADDR, which lets several bind the same port */
	bool is_padded;         /* an abstract name is followed by zeros up to the end of sun_path */
	mode_t more_mode;       /* permissions to add to those of a unix socket's file */
	int backlog;            /* <= 0: SOCKET_BACKLOG */
	bool is_door;           /* others are to join it: socket_open_side() */
};

/* Binds, and listens unless it is udp; close-on-exec, non-blocking. An AF_UNSPEC host means [::] for both
 * families, and 0.0.0.0 where there is no IPv6 (as Node). Of wish->fd it is a duplicate. The bound address
 * with its real port goes to ret_bound, the file of a unix path to ret_file. The descriptor, or -errno as
 * bind(2) and listen(2) give it; -EINVAL: fd is not what it should be. */
int socket_open(const struct socket_wish *wish, struct address *ret_bound, struct socket_file *ret_file);

/* One more socket at the address of a door opened with this wish: the last of
 * their group (socket(7), SO_REUSEPORT). Of tcp it listens. Nobody may attach a program to it. The descriptor, or
 * -errno. */
int socket_open_side(const struct socket_wish *wish, const struct address *bound);

/* A listening socket that was shut down, perhaps more than once, listens again: the last of its group. */
void socket_listen_again(int fd, const struct socket_wish *wish);

/* What a program's own listen(2) has set is set again (K4). */
void socket_set_backlog(int fd, const struct socket_wish *wish);

#endif
