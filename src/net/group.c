#include "net/group.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int group_add(struct group *g, struct group_member *m, int fd)
{
	if (g->count == GROUP_MOST)
		return -EMFILE;
	if (g->count == g->size) {
		unsigned size = g->size ? g->size * 2 : 8;
		struct group_member **more = reallocarray(g->members, size, sizeof(struct group_member *));

		if (!more)
			return -ENOMEM;
		g->members = more;
		g->size = size;
	}
	*m = (struct group_member){fd, (uint16_t)g->count};
	g->members[g->count++] = m;
	return 0;
}

void group_remove(struct group *g, struct group_member *m)
{
	struct group_member *last = g->members[--g->count];

	g->members[m->index] = last; /* the kernel fills the gap with the last one (K3) */
	last->index = m->index;
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
