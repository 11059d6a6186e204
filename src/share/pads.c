#include "share/pads.h"

#include "base/fd.h"
#include "share/share.h"

#include <sys/socket.h>

void pads_drop(struct share *s)
{
	for (int i = PADS; i-- > 0;) {
		struct pad *pad = &s->sides.pads[i];

		if (!pad->is_open)
			continue;
		shutdown(pad->member.fd, SHUT_RDWR);
		fd_close(&pad->member.fd);
		group_remove(&s->sides.group, &pad->member);
		pad->is_open = false;
	}
}

/* Into its place comes who has just joined, the last, which nobody is steered to yet. */
static void to_the_end(struct share *s, struct pad *pad)
{
	shutdown(pad->member.fd, SHUT_RDWR);
	socket_listen_again(pad->member.fd, &s->wish);
	group_moved_to_end(&s->sides.group, &pad->member);
}

static void open_one(struct share *s, struct pad *pad)
{
	int fd = socket_open_side(&s->wish, &s->listener.address);

	if (fd < 0)
		return;
	if (group_add(&s->sides.group, &pad->member, fd) < 0) {
		shutdown(fd, SHUT_RDWR);
		fd_close(&fd);
		return;
	}
	pad->is_open = true;
}

void pads_add(struct share *s)
{
	struct pad *pads = s->sides.pads;
	bool second = pads[1].is_open && (!pads[0].is_open || pads[1].member.index < pads[0].member.index);

	if (pads[second].is_open)
		to_the_end(s, &pads[second]);
	for (int i = 0; i < PADS; i++)
		if (!pads[i].is_open)
			open_one(s, &pads[i]);
}

void pads_empty(struct share *s)
{
	for (int i = 0; i < PADS; i++) {
		int fd;

		if (!s->sides.pads[i].is_open)
			continue;
		while ((fd = accept4(s->sides.pads[i].member.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
			fd_close(&fd);
	}
}
