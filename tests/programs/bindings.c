/* Servers that know nothing of umbel and bind in all the ways that programs do. Each answers every request with
 * its pid.
 *
 *     bindings MODE PORT [PORT2]      the modes are in the table at the end */
#include "plain.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static pid_t self;
static const char *port, *port2;

/* Serves those of the listeners that are there, one connection after the other; on_again: what a request of /again
 * does to a listener, after its answer. */
static void serve(int *listeners, nfds_t count, void (*on_again)(int *listener))
{
	struct pollfd fds[4];
	char request[4096];

	for (;;) {
		for (nfds_t i = 0; i < count; i++)
			fds[i] = (struct pollfd){listeners[i], POLLIN, 0};
		if (poll(fds, count, -1) < 0)
			plain_fail("poll");
		for (nfds_t i = 0; i < count; i++) {
			int fd = fds[i].revents ? accept4(listeners[i], NULL, NULL, SOCK_CLOEXEC) : -1;

			if (fd < 0 && fds[i].revents && errno != EAGAIN)
				plain_fail("accept");
			if (fd < 0)
				continue; /* another process was faster */
			plain_answer(fd, request, sizeof(request), self);
			if (on_again && strncmp(request, "GET /again", 10) == 0)
				on_again(&listeners[i]);
		}
	}
}

static void plain(void)
{
	int listener = plain_listener("0.0.0.0", port);

	serve(&listener, 1, NULL);
}

static void of_an_interface(void)
{
	int listener = plain_socket("0.0.0.0", SOCK_STREAM, 0);

	plain_tie(listener, "lo");
	plain_bind(listener, "0.0.0.0", port);
	plain_listen(listener);
	serve(&listener, 1, NULL);
}

static void *bind_there(void *listener)
{
	*(int *)listener = plain_listener("0.0.0.0", port);
	return NULL;
}

static void in_a_thread(void)
{
	pthread_t thread;
	int listener;

	if (pthread_create(&thread, NULL, bind_there, &listener) != 0)
		plain_fail("pthread_create");
	pthread_join(thread, NULL);
	serve(&listener, 1, NULL);
}

static void *serve_with_own(void *other)
{
	int fd;

	if (unshare(CLONE_FILES) < 0 || close(*(int *)other) < 0)
		plain_fail("unshare");
	fd = plain_listener("0.0.0.0", port);
	if (fd != *(int *)other)
		plain_fail("another number");
	serve(&fd, 1, NULL);
	return NULL;
}

/* The first thread has another socket by that number. */
static void own_table(void)
{
	int other = plain_socket("0.0.0.0", SOCK_STREAM, 0);
	pthread_t thread;

	if (pthread_create(&thread, NULL, serve_with_own, &other) != 0)
		plain_fail("pthread_create");
	pthread_join(thread, NULL);
}

static void *serve_after(void *first)
{
	pthread_join(*(pthread_t *)first, NULL);
	plain();
	return NULL;
}

static void without_first(void)
{
	static pthread_t first, second;

	first = pthread_self();
	if (pthread_create(&second, NULL, serve_after, &first) != 0)
		plain_fail("pthread_create");
	pthread_exit(NULL);
}

/* Children accept; they go with their parent. */
static void forks(void)
{
	int listener = plain_listener("0.0.0.0", port);

	for (int i = 0; i < 2; i++)
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == self)
				serve(&listener, 1, NULL);
			_exit(1);
		}
	while (wait(NULL) > 0)
		;
}

static void in_epoll_before(void)
{
	int listener = plain_socket("0.0.0.0", SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	int epoll = epoll_create1(EPOLL_CLOEXEC), fd;
	char request[4096];

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
		plain_fail("epoll_ctl");
	plain_bind(listener, "0.0.0.0", port);
	plain_listen(listener);
	while (epoll_wait(epoll, &event, 1, -1) >= 0)
		while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
			plain_answer(fd, request, sizeof(request), self);
	plain_fail("epoll_wait");
}

/* As what Go does by default since 1.24. */
static void mptcp(void)
{
	int listener = plain_socket("::", SOCK_STREAM, IPPROTO_MPTCP);

	plain_set(listener, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	plain_bind(listener, "::", port);
	plain_listen(listener);
	serve(&listener, 1, NULL);
}

static void two(void)
{
	int listeners[] = {plain_listener("0.0.0.0", port), plain_listener("127.0.0.1", port2)};

	serve(listeners, 2, NULL);
}

static int v6_listener(int only)
{
	int listener = plain_socket("::", SOCK_STREAM, 0);

	plain_set(listener, IPPROTO_IPV6, IPV6_V6ONLY, only);
	plain_bind(listener, "::", port);
	plain_listen(listener);
	return listener;
}

static void pair(void)
{
	int listeners[] = {plain_listener("0.0.0.0", port), v6_listener(1)};

	serve(listeners, 2, NULL);
}

static void dual(void)
{
	int listener = v6_listener(0);

	serve(&listener, 1, NULL);
}

static void *reuseport_thread(void *data)
{
	int listener = plain_socket("0.0.0.0", SOCK_STREAM, 0);

	plain_set(listener, SOL_SOCKET, SO_REUSEPORT, 1);
	plain_bind(listener, "0.0.0.0", port);
	plain_listen(listener);
	serve(&listener, 1, NULL);
	return data;
}

/* A group of its own: each thread has a socket of the same address. */
static void reuseport(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, reuseport_thread, NULL) != 0)
		plain_fail("pthread_create");
	reuseport_thread(NULL);
}

static void shut_and_listen(int *listener)
{
	if (shutdown(*listener, SHUT_RDWR) < 0)
		plain_fail("shutdown");
	plain_listen(*listener);
}

static void shuts(void)
{
	int listener = plain_listener("0.0.0.0", port);

	serve(&listener, 1, shut_and_listen);
}

static int ended;

static void on_term(int number)
{
	shutdown(ended, SHUT_RDWR);
	_exit(0);
}

/* At its end, as WEBrick does. */
static void shuts_at_the_end(void)
{
	ended = plain_listener("0.0.0.0", port);
	signal(SIGTERM, on_term);
	serve(&ended, 1, NULL);
}

static void close_and_bind(int *listener)
{
	close(*listener);
	*listener = plain_listener("0.0.0.0", port);
}

static void closes(void)
{
	int listener = plain_listener("0.0.0.0", port);

	serve(&listener, 1, close_and_bind);
}

static void close_and_wait(int *listener)
{
	close(*listener);
	printf("%d listens no more\n", (int)self);
	fflush(stdout);
	for (;;)
		pause();
}

static void gone(void)
{
	int listener = plain_listener("0.0.0.0", port);

	serve(&listener, 1, close_and_wait);
}

/* Nobody may look into it, not even who started it, unless that is root. */
static void undumpable(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	plain();
}

/* It was, when it bound. */
static void undumpable_later(void)
{
	int listener = plain_socket("0.0.0.0", SOCK_STREAM, 0);

	plain_bind(listener, "0.0.0.0", port);
	prctl(PR_SET_DUMPABLE, 0);
	plain_listen(listener);
	serve(&listener, 1, NULL);
}

static void undumpable_with_two(void)
{
	int listeners[] = {plain_socket("0.0.0.0", SOCK_STREAM, 0), plain_socket("0.0.0.0", SOCK_STREAM, 0)};

	plain_bind(listeners[0], "0.0.0.0", port);
	plain_bind(listeners[1], "0.0.0.0", port2);
	prctl(PR_SET_DUMPABLE, 0);
	plain_listen(listeners[0]);
	plain_listen(listeners[1]);
	serve(listeners, 2, NULL);
}

/* Binds when SIGUSR1 says so. */
static void waits(void)
{
	sigset_t set;
	int got;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	printf("%d waits\n", (int)self);
	fflush(stdout);
	sigwait(&set, &got);
	plain();
}

/* Listens twice, as nginx does, with options of its own, and says whether they are there. */
static void options(void)
{
	int listener = plain_socket("0.0.0.0", SOCK_STREAM | SOCK_NONBLOCK, 0), bytes = 0, seconds = 0;
	socklen_t length = sizeof(int);

	plain_set(listener, SOL_SOCKET, SO_RCVBUF, 20000);
	plain_set(listener, IPPROTO_TCP, 9 /* TCP_DEFER_ACCEPT */, 1);
	plain_bind(listener, "0.0.0.0", port);
	plain_listen(listener);
	if (listen(listener, 5) < 0)
		plain_fail("listen");
	getsockopt(listener, SOL_SOCKET, SO_RCVBUF, &bytes, &length);
	getsockopt(listener, IPPROTO_TCP, 9, &seconds, &length);
	printf("%d bytes, %d s, %s, %s\n", bytes, seconds,
	       fcntl(listener, F_GETFL) & O_NONBLOCK ? "nonblocking" : "blocking",
	       fcntl(listener, F_GETFD) & FD_CLOEXEC ? "closed on exec" : "open on exec");
	fflush(stdout);
	serve(&listener, 1, NULL);
}

static const struct mode {
	const char *name;
	void (*run)(void);
} modes[] = {
    {"plain", plain},       {"thread", in_a_thread}, {"fork", forks},     {"epoll", in_epoll_before},
    {"mptcp", mptcp},       {"two", two},            {"pair", pair},      {"dual", dual},
    {"reuseport", reuseport}, {"shutdown", shuts},   {"leaves", shuts_at_the_end},
    {"again", closes},      {"gone", gone},
    {"undumpable-later", undumpable_later}, {"undumpable-with-two", undumpable_with_two},
    {"undumpable", undumpable}, {"waits", waits},    {"options", options},
    {"interface", of_an_interface},
    {"own-table", own_table}, {"no-first", without_first},
};

int main(int argc, char **argv)
{
	self = getpid();
	if (argc > 2) {
		port = argv[2];
		port2 = argc > 3 ? argv[3] : NULL;
		for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
			if (strcmp(argv[1], modes[i].name) == 0)
				modes[i].run();
	}
	fprintf(stderr, "usage: bindings MODE PORT [PORT2]\n");
	return 2;
}
