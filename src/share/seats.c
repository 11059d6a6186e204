/* The workers that serve a share, in the order of their turns: share.h. */
#include "share/share.h"

#include "share/sharing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int share_add(struct share *s, struct receiver *r)
{
	if (s->seat_count == s->seat_size) {
		unsigned size = s->seat_size ? s->seat_size * 2 : 8;
		struct subscription *more = reallocarray(s->seats, size, sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->seats = more;
		s->seat_size = size;
	}
	if (s->seat_count == 0)
		s->served_ms = uv_now(s->sharing->loop);
	s->seats[s->seat_count++] = (struct subscription){.receiver = r};
	s->closed_by = 0;
	uv_timer_stop(&s->orphan);
	steering_update(s);
	if (s->is_deaf)
		socket_set_deaf(s->listener.fd, false);
	s->is_deaf = false;
	return 0;
}

int share_seat_of(const struct share *s, const struct receiver *r)
{
	for (unsigned i = 0; i < s->seat_count; i++)
		if (s->seats[i].receiver == r)
			return (int)i;
	return -1;
}

/* The others keep their order, and the turn stays with whom it was. */
void share_remove(struct share *s, unsigned seat)
{
	s->seat_count--;
	memmove(s->seats + seat, s->seats + seat + 1, (s->seat_count - seat) * sizeof(*s->seats));
	if (s->last >= seat)
		s->last = s->last ? s->last - 1 : (s->seat_count ? s->seat_count - 1 : 0);
	steering_update(s);
}
