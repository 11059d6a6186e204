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
	bool has_owner;         /* the others of its group are this user's, and so is each that is opened (K7) */
	uid_t owner;
	bool is_free;           /* IP_FREEBIND: of no interface here, perhaps not yet */
	bool is_bound_only;     /* it does not listen before socket_listen() */
};

/* Binds, and listens unless it is udp; close-on-exec, non-blocking. An AF_UNSPEC host means [::] for both
 * families, and 0.0.0.0 where there is no IPv6 (as Node). Of wish->fd it is a duplicate. The bound address
 * with its real port goes to ret_bound, the file of a unix path to ret_file. The descriptor, or -errno as
 * bind(2) and listen(2) give it; -EINVAL: fd is not what it should be. */
int socket_open(const struct socket_wish *wish, struct address *ret_bound, struct socket_file *ret_file);

/* What a socket is bound to, of ip with the interface that it is bound to; of udp it is taken for tcp. 0 or -errno. */
int socket_address(int fd, struct address *ret);
void socket_add_interface(int fd, struct address *a); /* if it is bound to one */

/* One more socket at the address of a door opened with this wish: the last of
 * their group (socket(7), SO_REUSEPORT). Of tcp it listens. Nobody may attach a program to it. The descriptor, or
 * -errno. */
int socket_open_side(const struct socket_wish *wish, const struct address *bound);

/* The same of one that does not listen yet: in the place of a program's own. */
int socket_open_bound(const struct socket_wish *wish, const struct address *bound);

/* A program's own socket, of another process of this user, becomes one of that group: bound to the name that the
 * program wants, with the operator's options. It does not listen. 0 or -errno as bind(2). */
int socket_bind_own(int fd, const struct socket_wish *wish, const struct sockaddr *name, socklen_t len);

/* What a program has set on its socket, for one that takes its place, as far as it can be read. */
void socket_copy_options(int from, int to);

/* It listens, with the backlog that is wished. 0 or -errno: -EADDRINUSE: of a door: another did so first. */
int socket_listen(int fd, const struct socket_wish *wish);
/* What comes to it is dropped unheard: clients try again in a second. 0 or -errno. */
int socket_set_deaf(int fd, bool deaf);
int socket_lock(int fd); /* nobody may attach a program to it any more. 0 or -errno */

/* Below it only who has CAP_NET_BIND_SERVICE may bind (net.ipv4.ip_unprivileged_port_start). */
int socket_first_unprivileged_port(void);

/* A listening socket that was shut down, perhaps more than once, listens again: the last of its group. */
void socket_listen_again(int fd, const struct socket_wish *wish);

/* What a program's own listen(2) has set is set again (K4). */
void socket_set_backlog(int fd, const struct socket_wish *wish);

#endif
