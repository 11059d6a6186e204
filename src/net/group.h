/* group: the sockets of one address among which the kernel chooses (SO_REUSEPORT, socket(7)), in the kernel's
 * own order: the index that a steering program returns. The first member is the door; it is never
 * removed. Facts K1 to K18 in docs/KERNEL.md. */
#ifndef UMBEL_NET_GROUP_H
#define UMBEL_NET_GROUP_H

#include <stdbool.h>
#include <stdint.h>

struct sock_filter;

struct group_member {
	int fd;
	uint16_t index; /* as the kernel counts */
	uint32_t inode; /* the socket's, as sock_diag(7) has it */
};

struct group {
	struct group_member **members;
	unsigned count, size;
	unsigned changes; /* so far */
};

#define GROUP_MOST 1024

/* Right after its listen(2), of udp its bind(2). fd -1: another program's. 0, -ENOMEM, or -EMFILE: there are
 * GROUP_MOST. */
int group_add(struct group *g, struct group_member *m, int fd);
int group_reserve(struct group *g, unsigned more); /* so many can be added then; the same errors */

/* Right after its shutdown(2): the last one has its index now. A mere close(2) does not take a socket out of the
 * kernel's group while any process has a copy (K6). */
void group_remove(struct group *g, struct group_member *m);

/* Of tcp: another process has shut it down, and it listens again: it is the last one now. */
void group_moved_to_end(struct group *g, struct group_member *m);

void group_reset(struct group *g); /* all but the first have been shut down */

/* Attaches a program in the place of the one before. 0 or -errno. */
int group_attach(const struct group *g, const struct sock_filter *program, unsigned length);

void group_finish(struct group *g); /* the descriptors stay open */

#endif
