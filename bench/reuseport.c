/* reuseport PORT WORKERS: the server that one writes by hand for many connections, as a yardstick. Each
 * worker has an SO_REUSEPORT socket and an epoll set of its own and takes one connection for each
 * wake-up, as nginx does by default. Nobody supervises, and who dies loses its queue. */
#include "answer.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int open_listener(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0)
		die("listen");
	return fd;
}

static void work(uint16_t port)
{
	struct epoll_event event = {.events = EPOLLIN};
	int listener = open_listener(port), epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
		die("epoll");
	printf("listens\n");
	fflush(stdout);
	for (;;) {
		int fd;

		if (epoll_wait(epoll, &event, 1, -1) != 1)
			continue;
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		answer(fd);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	int workers = argc > 2 ? atoi(argv[2]) : 0;
	pid_t parent = getpid();

	if (workers < 1) {
		fprintf(stderr, "usage: reuseport PORT WORKERS\n");
		return 2;
	}
	for (int i = 0; i < workers; i++)
		switch (fork()) {
		case -1:
			die("fork");
			break;
		case 0:
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				exit(0);
			work((uint16_t)atoi(argv[1]));
		}
	while (wait(NULL) > 0)
		;
	return 1; /* nobody is left */
}
