/* room: how many connections this process may have before it is out of descriptors: what is sent to one that is
 * out of them is lost (unix(7)), so the primary is told. */
#include "base/fd.h"
#include "worker/parts.h"

#include <limits.h>
#include <sys/resource.h>

enum { RESERVE = 16 }; /* for the lane, listening sockets, and what the program opens later */

static rlim_t soft_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

void room_announce(struct self *s)
{
	int open = fd_count();

	s->limit = soft_limit();
	s->room = 0; /* as many as you like, as far as we know */
	if (open >= 0 && s->limit <= INT_MAX) {
		/* Connections are no part of what is always open. */
		s->room = (int)s->limit - (open - atomic_load(&s->active)) - RESERVE;
		if (s->room < 1)
			s->room = 1;
	}
	talk_send(s, node_encode_hello(s->room));
}

/* A program may raise its limit at any time: it counts when the old one is reached. */
void room_on_taken(struct self *s)
{
	if (s->room > 0 && atomic_load(&s->active) >= s->room && soft_limit() != s->limit)
		room_announce(s);
}
