#include "net/group.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static uint32_t inode_of(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? (uint32_t)st.st_ino : 0;
}

int group_reserve(struct group *g, unsigned more)
{
	unsigned size = g->size ? g->size : 8;
	struct group_member **members;

	if (more > GROUP_MOST - g->count)
		return -EMFILE;
	while (size < g->count + more)
		size *= 2;
	if (size == g->size)
		return 0;
	members = reallocarray(g->members, size, sizeof(struct group_member *));
	if (!members)
		return -ENOMEM;
	g->members = members;
	g->size = size;
	return 0;
}

int group_add(struct group *g, struct group_member *m, int fd)
{
	int err = group_reserve(g, 1);

	if (err)
		return err;
	*m = (struct group_member){fd, (uint16_t)g->count, inode_of(fd)};
	g->members[g->count++] = m;
	g->changes++;
	return 0;
}

void group_remove(struct group *g, struct group_member *m)
{
	struct group_member *last = g->members[--g->count];

	g->members[m->index] = last; /* the kernel fills the gap with the last one (K3) */
	last->index = m->index;
	g->changes++;
}

void group_moved_to_end(struct group *g, struct group_member *m)
{
	group_remove(g, m);
	m->index = (uint16_t)g->count;
	g->members[g->count++] = m;
}

void group_reset(struct group *g)
{
	g->count = 1;
	g->changes++;
}

int group_attach(const struct group *g, const struct sock_filter *program, unsigned length)
{
	struct sock_fprog whole;

	memset(&whole, 0, sizeof(whole)); /* its padding is read too */
	whole.len = (unsigned short)length;
	whole.filter = (struct sock_filter *)program;
	return setsockopt(g->members[0]->fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &whole, sizeof(whole)) < 0
		   ? -errno
		   : 0;
}

void group_finish(struct group *g)
{
	free(g->members);
	*g = (struct group){0};
}
