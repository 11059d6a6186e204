/* Servers that know nothing of umbel and do something with their sockets later in their life. Each answers every
 * request with its pid.
 *
 *     lives early PORT FILE [PORT2] binds, and listens when FILE is there; on PORT2 at once
 *     lives quits PORT PORT2        at SIGUSR1 closes the first and shuts the second down; at SIGUSR2 listens on
 *                                   that again, and so on
 *     lives ports HOW PORT COUNT    at SIGUSR1 binds ("listen": and listens on) so many addresses, 127.1.0.2 and
 *                                   so on, and closes each; at SIGUSR2 serves on 127.0.0.1
 *     lives background PORT [late]  listens, and goes on in the background, in a session of its own; late: and
 *                                   listens only there
 *     lives forks PORT              binds, forks, listens, and the child serves; answers are the parent's pid
 *     lives forks-udp PORT          forks, binds, and the child answers datagrams
 *     lives intrudes PORT OTHER     tries to listen on OTHER, too, with sockets that it has bound to PORT, or has
 *                                   failed to */
#include "plain.h"

#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

static pid_t self;

static void say(const char *what)
{
	printf("%d %s\n", (int)self, what);
	fflush(stdout);
}

static void serve(int listener)
{
	char request[4096];

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			plain_fail("accept");
		plain_answer(fd, request, sizeof(request), self);
	}
}

static void block(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGUSR2);
	sigprocmask(SIG_BLOCK, set, NULL);
}

static void wait_for(const sigset_t *set, int number)
{
	int got;

	while (sigwait(set, &got) == 0 && got != number)
		;
}

static void early(char **args)
{
	int listener = plain_socket("0.0.0.0", SOCK_STREAM, 0);

	plain_bind(listener, "0.0.0.0", args[0]);
	if (args[2])
		plain_listener("0.0.0.0", args[2]);
	say("has bound");
	while (access(args[1], F_OK) < 0)
		usleep(10000);
	plain_listen(listener);
	serve(listener);
}

/* Serves both, if there are two, until that signal. */
static void serve_until(const sigset_t *set, int number, int first, int second)
{
	struct pollfd fds[] = {{signalfd(-1, set, SFD_CLOEXEC), POLLIN, 0}, {first, POLLIN, 0}, {second, POLLIN, 0}};
	struct signalfd_siginfo info = {0};
	char request[4096];

	while (poll(fds, 3, -1) > 0) {
		if (fds[0].revents && read(fds[0].fd, &info, sizeof(info)) > 0 && (int)info.ssi_signo == number)
			break;
		for (int i = 1; i < 3; i++) {
			int fd = fds[i].revents ? accept4(fds[i].fd, NULL, NULL, SOCK_CLOEXEC) : -1;

			if (fd >= 0)
				plain_answer(fd, request, sizeof(request), self);
		}
	}
	close(fds[0].fd);
}

static void quits(char **args)
{
	int first, second;
	sigset_t set;

	block(&set);
	first = plain_listener("0.0.0.0", args[0]);
	second = plain_listener("0.0.0.0", args[1]);
	serve_until(&set, SIGUSR1, first, second);
	close(first);
	if (shutdown(second, SHUT_RDWR) < 0)
		plain_fail("shutdown");
	say("listens no more");
	for (;;) {
		wait_for(&set, SIGUSR2);
		plain_listen(second);
		say("listens again");
		serve_until(&set, SIGUSR1, second, -1);
		if (shutdown(second, SHUT_RDWR) < 0)
			plain_fail("shutdown");
		say("listens no more");
	}
}

static void ports(char **args)
{
	int count = atoi(args[2]);
	sigset_t set;
	char host[32];

	block(&set);
	say("waits");
	wait_for(&set, SIGUSR1);
	for (int i = 1; i <= count; i++) {
		int fd = plain_socket("127.0.0.1", SOCK_STREAM, 0);

		snprintf(host, sizeof(host), "127.1.%d.%d", i / 250, i % 250 + 1);
		plain_bind(fd, host, args[1]);
		if (strcmp(args[0], "listen") == 0)
			plain_listen(fd);
		close(fd);
	}
	say("has closed all");
	wait_for(&set, SIGUSR2);
	serve(plain_listener("127.0.0.1", args[1]));
}

static void background(char **args)
{
	bool is_late = args[1] != NULL;
	int listener = is_late ? -1 : plain_listener("0.0.0.0", args[0]), ready[2];
	char byte;

	if (pipe(ready) < 0)
		plain_fail("pipe");
	if (fork() > 0) {
		close(ready[1]);
		_exit(read(ready[0], &byte, 1) != 1);
	}
	setsid();
	if (write(ready[1], "", 1) < 0)
		plain_fail("write");
	while (is_late && getppid() == self)
		usleep(1000);
	self = getpid();
	serve(is_late ? plain_listener("0.0.0.0", args[0]) : listener);
}

/* In a child, that waits for a word; both descriptors are open in both. */
static void fork_server(void (*serve_it)(int fd), int fd, int word[2])
{
	char byte;

	if (pipe(word) < 0)
		plain_fail("pipe");
	if (fork() == 0) {
		if (read(word[0], &byte, 1) == 1)
			serve_it(fd);
		_exit(1);
	}
}

static void wait_for_child(const int word[2])
{
	if (write(word[1], "", 1) < 0)
		plain_fail("write");
	wait(NULL);
	exit(1);
}

static void forks(char **args)
{
	int listener = plain_socket("127.0.0.1", SOCK_STREAM, 0), word[2];

	plain_bind(listener, "127.0.0.1", args[0]);
	fork_server(serve, listener, word);
	plain_listen(listener);
	wait_for_child(word);
}

static void serve_datagrams(int fd)
{
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	char text[64];

	while (recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &length) >= 0) {
		int n = snprintf(text, sizeof(text), "%d\n", (int)self);

		sendto(fd, text, (size_t)n, 0, (struct sockaddr *)&from, length);
		length = sizeof(from);
	}
	plain_fail("recvfrom");
}

static void forks_udp(char **args)
{
	int fd = plain_socket("127.0.0.1", SOCK_DGRAM, 0), word[2];

	fork_server(serve_datagrams, fd, word);
	plain_bind(fd, "127.0.0.1", args[0]);
	say("has udp");
	wait_for_child(word);
}

/* What the kernel knows of it: whose it is decides which groups it may join. */
static void try_to_join(const char *what, int fd, const char *other)
{
	struct sockaddr_storage address;
	socklen_t length = plain_address("::", other, &address);
	bool listens = bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, 128) == 0;
	struct stat st;

	fstat(fd, &st);
	printf("%s: of %u, %s\n", what, (unsigned)st.st_uid, listens ? "it listens there" : strerrorname_np(errno));
}

static int open_joining(const char *host)
{
	int fd = plain_socket(host, SOCK_STREAM, 0);

	plain_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (strchr(host, ':'))
		plain_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	return fd;
}

/* A device that has not that address: who binds there gets EADDRNOTAVAIL, late. */
static void tie_to_wrong_device(int fd)
{
	struct if_nameindex *all = if_nameindex();

	for (const struct if_nameindex *i = all; i && i->if_index; i++)
		if (strcmp(i->if_name, "lo") != 0 &&
		    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, i->if_name, (socklen_t)strlen(i->if_name)) == 0)
			break;
	if_freenameindex(all);
}

static void intrudes(char **args)
{
	static const char *const whats[] = {"as it is", "after a bind", "after a bind that fails", "after a listen"};
	struct sockaddr_storage address;
	socklen_t length = plain_address("::1", args[0], &address);

	for (int i = 0; i < 4; i++) {
		int fd = open_joining("::");

		if (i == 2)
			tie_to_wrong_device(fd);
		if (i > 0 && bind(fd, (struct sockaddr *)&address, length) == 0 && i == 3)
			plain_listen(fd);
		try_to_join(whats[i], fd, args[1]);
	}
	say("has tried");
	for (;;)
		pause();
}

static const struct mode {
	const char *name;
	int args;
	void (*run)(char **args);
} modes[] = {
    {"early", 2, early},           {"quits", 2, quits},       {"ports", 3, ports},
    {"background", 1, background}, {"intrudes", 2, intrudes},
    {"forks", 1, forks},           {"forks-udp", 1, forks_udp},
};

int main(int argc, char **argv)
{
	self = getpid();
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(*modes); i++)
		if (strcmp(argv[1], modes[i].name) == 0 && argc >= modes[i].args + 2)
			modes[i].run(argv + 2);
	fprintf(stderr, "usage: lives MODE ARGUMENTS\n");
	return 2;
}
