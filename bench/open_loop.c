/* open_loop PORT RATE SECONDS: RATE requests a second, each on a connection of its own, whether or not
 * the ones before are answered; wrk and ab wait for them. A request's time counts from the moment when
 * it was due. Prints one line: sent, answered, mean ms, 99th percentile ms, bytes per second.
 * The unanswered count with the time they have waited so far. Loopback only. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DRAIN_MS = 1000 }; /* the last requests get so long */

struct request {
	double due, took; /* seconds */
	int fd;
	size_t bytes;
	int answered;
};

struct client {
	struct sockaddr_in to;
	int epoll;
	struct request *requests;
	size_t count, started, answered, bytes;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void start_request(struct client *c)
{
	size_t index = c->started++;
	struct request *r = &c->requests[index];
	struct epoll_event event = {.events = EPOLLOUT, .data.u64 = index};

	r->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (r->fd < 0)
		return; /* stays unanswered */
	if ((connect(r->fd, (struct sockaddr *)&c->to, sizeof(c->to)) < 0 && errno != EINPROGRESS) ||
	    epoll_ctl(c->epoll, EPOLL_CTL_ADD, r->fd, &event) < 0) {
		close(r->fd);
		return;
	}
}

static void end_request(struct client *c, struct request *r)
{
	close(r->fd);
	if (r->bytes == 0)
		return;
	r->answered = 1;
	r->took = now() - r->due;
	c->answered++;
	c->bytes += r->bytes;
}

static void on_event(struct client *c, const struct epoll_event *e)
{
	static const char get[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
	static char buffer[65536];
	struct request *r = &c->requests[e->data.u64];
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = e->data.u64};
	ssize_t n;

	if (e->events & EPOLLOUT) {
		if (send(r->fd, get, sizeof(get) - 1, MSG_NOSIGNAL) < 0)
			end_request(c, r);
		else
			epoll_ctl(c->epoll, EPOLL_CTL_MOD, r->fd, &event);
		return;
	}
	while ((n = read(r->fd, buffer, sizeof(buffer))) > 0)
		r->bytes += (size_t)n;
	if (n == 0 || errno != EAGAIN)
		end_request(c, r);
}

static void wait_until(struct client *c, double end)
{
	struct epoll_event events[64];
	double left;

	while ((left = end - now()) > 0) {
		/* To the microsecond: whole milliseconds would bunch the requests. */
		struct timespec wait = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
		int n = epoll_pwait2(c->epoll, events, 64, &wait, NULL);

		for (int i = 0; i < n; i++)
			on_event(c, &events[i]);
	}
}

static int compare(const void *a, const void *b)
{
	double x = ((const struct request *)a)->took, y = ((const struct request *)b)->took;

	return (x > y) - (x < y);
}

static void report(struct client *c, double seconds, double end)
{
	double sum = 0;

	for (size_t i = 0; i < c->count; i++) {
		struct request *r = &c->requests[i];

		r->took = r->answered ? r->took : end - r->due;
		sum += r->took;
	}
	qsort(c->requests, c->count, sizeof(*c->requests), compare);
	printf("%zu %zu %.2f %.2f %.0f\n", c->count, c->answered, sum / (double)c->count * 1e3,
	       c->requests[(c->count * 99 - 1) / 100].took * 1e3, (double)c->bytes / seconds);
}

int main(int argc, char **argv)
{
	double rate = argc > 2 ? atof(argv[2]) : 0, seconds = argc > 3 ? atof(argv[3]) : 0, begin;
	struct client c = {.to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
			   .epoll = epoll_create1(EPOLL_CLOEXEC), .count = (size_t)(rate * seconds)};
	struct rlimit files;

	c.requests = calloc(c.count ? c.count : 1, sizeof(*c.requests));
	if (c.count == 0 || !c.requests) {
		fprintf(stderr, "usage: open_loop PORT RATE SECONDS\n");
		return 2;
	}
	c.to.sin_port = htons((uint16_t)atoi(argv[1]));
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	begin = now();
	for (size_t i = 0; i < c.count; i++) {
		c.requests[i].due = begin + (double)i / rate;
		wait_until(&c, c.requests[i].due);
		start_request(&c);
	}
	wait_until(&c, begin + seconds + DRAIN_MS / 1e3);
	report(&c, seconds + DRAIN_MS / 1e3, now());
	free(c.requests);
	return 0;
}
