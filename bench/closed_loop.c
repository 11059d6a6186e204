/* closed_loop PORT CLIENTS SECONDS [ADDRESSES]: so many clients, each with one request on a connection of
 * its own at a time, the next one when the answer has ended. What wrk cannot: clients of several
 * addresses (127.0.1.1 and on), the 99th percentile of all requests, also of those still waiting at the
 * end. Prints one line: answered, failed, seconds, mean ms, 99th percentile ms. Loopback only. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ADDRESSES = 250, DRAIN_MS = 10000 };

struct client {
	double begun;
	size_t bytes;
	int fd;
	int sent;
	uint32_t address;
};

static struct sockaddr_in to = {.sin_family = AF_INET};
static int epoll;
static struct client *clients;
static double *took;
static size_t answered, room, failed, busy;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void begin(struct client *c)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(c->address)};
	/* Edge-triggered, both ways: one epoll_ctl for each connection. */
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	c->begun = now();
	c->bytes = 0;
	c->sent = 0;
	if (c->address && (setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) < 0 ||
			   bind(c->fd, (struct sockaddr *)&from, sizeof(from)) < 0))
		die("bind");
	if ((connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
		die("connect");
	busy++;
}

static void end(struct client *c)
{
	close(c->fd);
	busy--;
	if (c->bytes == 0) {
		failed++;
		return;
	}
	if (answered == room) {
		room = room ? 2 * room : 65536;
		took = realloc(took, room * sizeof(*took));
		if (!took)
			die("realloc");
	}
	took[answered++] = now() - c->begun;
}

/* Returns whether the answer, or the connection, has ended. */
static int go_on(struct client *c)
{
	static const char get[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
	static char buffer[65536];
	ssize_t n;

	if (!c->sent) {
		c->sent = 1;
		if (send(c->fd, get, sizeof(get) - 1, MSG_NOSIGNAL) < 0)
			return 1;
	}
	while ((n = recv(c->fd, buffer, sizeof(buffer), 0)) > 0)
		c->bytes += (size_t)n;
	return n == 0 || errno != EAGAIN;
}

/* A client that has its answer begins again, until the time is over. */
static void load(double until)
{
	struct epoll_event events[64];
	int n = epoll_wait(epoll, events, 64, 100);

	for (int i = 0; i < n; i++) {
		struct client *c = events[i].data.ptr;

		if (!go_on(c))
			continue;
		end(c);
		if (now() < until)
			begin(c);
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(double seconds)
{
	double sum = 0;

	for (size_t i = 0; i < answered; i++)
		sum += took[i];
	qsort(took, answered, sizeof(*took), compare);
	printf("%zu %zu %.3f %.3f %.3f\n", answered, failed + busy, seconds,
	       answered ? sum / (double)answered * 1e3 : 0,
	       answered ? took[(answered * 99 - 1) / 100] * 1e3 : 0);
}

int main(int argc, char **argv)
{
	size_t count = argc > 3 ? (size_t)atoi(argv[2]) : 0;
	double seconds = argc > 3 ? atof(argv[3]) : 0, begun, until;
	unsigned addresses = argc > 4 ? (unsigned)atoi(argv[4]) : 0;

	clients = calloc(count ? count : 1, sizeof(*clients));
	if (count == 0 || seconds <= 0 || addresses > MAX_ADDRESSES || !clients) {
		fprintf(stderr, "usage: closed_loop PORT CLIENTS SECONDS [0..%d]\n", MAX_ADDRESSES);
		return 2;
	}
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons((uint16_t)atoi(argv[1]));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	begun = now();
	until = begun + seconds;
	for (size_t i = 0; i < count; i++) {
		if (addresses)
			clients[i].address = 0x7f000101U + (uint32_t)(i % addresses);
		begin(&clients[i]);
	}
	while (busy > 0 && now() < until + DRAIN_MS / 1e3)
		load(until);
	report(now() - begun);
	free(clients);
	free(took);
	return 0;
}
