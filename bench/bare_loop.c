/* bare_loop PORT BATCH: the least that a primary can do, as a yardstick. One epoll loop that accepts,
 * sends BATCH descriptors in one message to two C workers in turn, and closes. It supervises nothing. */
#include "answer.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORKERS = 2, MAX_BATCH = 8, ROUND = 32 };

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(MAX_BATCH * sizeof(int))];
};

struct batch {
	int lane;
	unsigned count;
	int fds[MAX_BATCH];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void work(int lane)
{
	char bytes[MAX_BATCH];
	union control control;
	struct iovec iov = {bytes, sizeof(bytes)};
	int fds[MAX_BATCH];

	for (;;) {
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
				   .msg_controllen = sizeof(control.bytes)};
		size_t count;

		if (recvmsg(lane, &m, MSG_CMSG_CLOEXEC) <= 0)
			exit(0);
		if (!CMSG_FIRSTHDR(&m))
			continue;
		count = (CMSG_FIRSTHDR(&m)->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&m)), count * sizeof(int));
		for (size_t i = 0; i < count; i++) {
			answer(fds[i]);
			close(fds[i]);
		}
	}
}

static void send_batch(struct batch *b)
{
	static char bytes[MAX_BATCH];
	union control control;
	struct iovec iov = {bytes, b->count};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			   .msg_controllen = CMSG_SPACE(b->count * sizeof(int))};

	if (b->count == 0)
		return;
	control.align = (struct cmsghdr){CMSG_LEN(b->count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.align), b->fds, b->count * sizeof(int));
	if (sendmsg(b->lane, &m, MSG_NOSIGNAL) < 0)
		die("sendmsg");
	for (unsigned i = 0; i < b->count; i++)
		close(b->fds[i]);
	b->count = 0;
}

static void hand_out(int listener, struct batch *workers, unsigned batch)
{
	static unsigned turn;

	for (int i = 0; i < ROUND; i++) {
		struct batch *b = &workers[turn++ % WORKERS];
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			break;
		b->fds[b->count++] = fd;
		if (b->count == batch)
			send_batch(b);
	}
	for (int i = 0; i < WORKERS; i++)
		send_batch(&workers[i]);
}

static int open_listener(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 511) < 0)
		die("listen");
	return fd;
}

static int start_worker(int listener)
{
	pid_t primary = getpid();
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		die("socketpair");
	switch (fork()) {
	case -1:
		die("fork");
		break;
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != primary)
			exit(0);
		close(listener);
		close(ends[0]);
		work(ends[1]);
	}
	close(ends[1]);
	printf("listens\n");
	fflush(stdout); /* before the next fork */
	return ends[0];
}

int main(int argc, char **argv)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct batch workers[WORKERS] = {{0}};
	unsigned batch = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
	int listener, epoll = epoll_create1(EPOLL_CLOEXEC);

	if (argc < 2 || batch < 1 || batch > MAX_BATCH) {
		fprintf(stderr, "usage: bare_loop PORT [1..%d]\n", MAX_BATCH);
		return 2;
	}
	listener = open_listener((uint16_t)atoi(argv[1]));
	for (int i = 0; i < WORKERS; i++)
		workers[i].lane = start_worker(listener);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
		die("epoll_ctl");
	for (;;)
		if (epoll_wait(epoll, &event, 1, -1) == 1)
			hand_out(listener, workers, batch);
}
