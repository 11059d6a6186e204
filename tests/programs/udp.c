/* udp.js in C: answers each datagram with its pid and what came, until it is asked to leave.
 *
 *     udp PORT */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <umbel.h>
#include <unistd.h>

static int udp = -1;
static bool leaving;

static void answer_all(void)
{
	char text[256];
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	int head;
	ssize_t n;

	for (;;) {
		head = sprintf(text, "%d ", (int)getpid());
		from_len = sizeof(from);
		n = recvfrom(udp, text + head, sizeof(text) - (size_t)head, 0, (struct sockaddr *)&from,
			     &from_len);
		if (n < 0)
			return;
		sendto(udp, text, (size_t)(head + n), 0, (struct sockaddr *)&from, from_len);
	}
}

static void serve(struct umbel *u, int fd, void *data)
{
	udp = fd;
}

static void on_drain(struct umbel *u, const struct umbel_event *e, void *data)
{
	leaving = true;
}

static int loop(struct umbel *u)
{
	int r = 1;

	while (r == 1) {
		struct pollfd p[] = {{umbel_fd(u), POLLIN, 0}, {udp, POLLIN, 0}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (udp >= 0)
			answer_all();
		r = umbel_dispatch(u);
		if (leaving && udp >= 0) {
			answer_all();
			close(udp);
			udp = -1;
		}
	}
	return r;
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	char address[64];
	int err;

	if (argc < 2) {
		fprintf(stderr, "usage: udp PORT\n");
		return 2;
	}
	snprintf(address, sizeof(address), "udp://127.0.0.1:%s", argv[1]);
	err = umbel_open(argc, argv, &u);
	if (!err)
		err = umbel_on(u, UMBEL_DRAIN, on_drain, NULL);
	if (!err)
		err = umbel_listen(u, address, serve, NULL);
	if (!err)
		err = loop(u);
	if (err)
		fprintf(stderr, "udp: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
