/* Programs that bind what nobody is to share, or bind much, or wrongly.
 *
 *     binds errors PORT BUSY   calls that fail, BUSY is somebody else's port: says what each answered, and ends
 *     binds odd PORT PORT2     addresses of one interface, or of none here: the same
 *     binds free               port 0: says which it got, and answers there with its pid
 *     binds unix PATH          a unix socket, likewise
 *     binds udp PORT           answers datagrams with its pid
 *     binds many PORT COUNT    so many addresses, 127.1.0.1 and so on, as fast as it can; serves the first
 *     binds alarmed PORT COUNT listens at so many, with a signal every 0.1 ms that it handles; keeps the first
 *     binds interrupted PORT COUNT   the same, without SA_RESTART: then it calls again
 *     binds at-once PORT COUNT listens at so many, in a thread each; serves one of them
 *     binds steps PORT         tries to listen at one more at each SIGUSR1, and says how that went */
#include "plain.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/un.h>

static void say(const char *what, int result)
{
	printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "0");
}

static int try_bind(int fd, const char *host, const char *port)
{
	struct sockaddr_storage address;
	socklen_t length = plain_address(host, port, &address);

	return bind(fd, (struct sockaddr *)&address, length);
}

static void errors(const char *port, const char *busy)
{
	int v4 = plain_socket("0.0.0.0", SOCK_STREAM, 0), v6 = plain_socket("::", SOCK_STREAM, 0);
	int other = plain_socket("0.0.0.0", SOCK_STREAM, 0), pipes[2];
	struct sockaddr_storage address;
	struct sockaddr_in name;
	socklen_t length = sizeof(name);

	if (pipe(pipes) < 0)
		plain_fail("pipe");
	plain_address("0.0.0.0", port, &address);
	say("a busy port", try_bind(v4, "0.0.0.0", busy));
	say("an address of nobody", try_bind(v4, "192.0.2.1", port));
	say("no descriptor", try_bind(-1, "0.0.0.0", port));
	say("no such descriptor", try_bind(999, "0.0.0.0", port));
	say("a pipe", try_bind(pipes[0], "0.0.0.0", port));
	say("too short", bind(v4, (struct sockaddr *)&address, 4));
	say("nothing", bind(v4, (struct sockaddr *)&address, 0));
	say("too long", bind(v4, (struct sockaddr *)&address, 4096));
	say("no memory there", bind(v4, (struct sockaddr *)8, sizeof(struct sockaddr_in)));
	say("the wrong family", try_bind(v6, "0.0.0.0", port));
	say("the other wrong family", try_bind(v4, "::", port));
	say("a pipe listens", listen(pipes[0], 5));
	say("nobody listens", listen(-1, 5));
	say("bound", try_bind(v4, "0.0.0.0", port));
	say("bound again", try_bind(v4, "0.0.0.0", port));
	say("its name", getsockname(v4, (struct sockaddr *)&name, &length));
	printf("%s\n", name.sin_port == htons((uint16_t)atoi(port)) ? "as asked" : "not as asked");
	say("listens", listen(v4, 5));
	say("listens again", listen(v4, -1));
	say("listens without an address", listen(other, 5));
	say("bound while it listens", try_bind(v4, "0.0.0.0", port));
}

/* It stays open: the next ones are beside it. */
static void try_listen(const char *what, const char *host, const char *port, const char *interface, bool is_free)
{
	int fd = plain_socket(host, SOCK_STREAM, 0), result;

	if (is_free)
		plain_set(fd, IPPROTO_IP, IP_FREEBIND, 1);
	if (interface)
		plain_tie(fd, interface);
	result = try_bind(fd, host, port);
	say(what, result < 0 ? result : listen(fd, 5));
}

/* A link-local one of any interface, with its scope. False: there is none. */
static bool find_link_local(struct sockaddr_in6 *ret)
{
	struct ifaddrs *all = NULL;
	bool found = false;

	if (getifaddrs(&all) < 0)
		plain_fail("getifaddrs");
	for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET6)
			continue;
		memcpy(ret, i->ifa_addr, sizeof(*ret));
		found = IN6_IS_ADDR_LINKLOCAL(&ret->sin6_addr);
	}
	freeifaddrs(all);
	return found;
}

static void link_local(const char *port)
{
	int fd = plain_socket("::", SOCK_STREAM, 0), other = plain_socket("::", SOCK_STREAM, 0);
	struct sockaddr_in6 name;
	uint32_t scope;

	if (!find_link_local(&name))
		return;
	name.sin6_port = htons((uint16_t)atoi(port));
	scope = name.sin6_scope_id;
	name.sin6_scope_id = 0;
	say("link local of no interface", bind(fd, (struct sockaddr *)&name, sizeof(name)));
	name.sin6_scope_id = scope;
	say("link local", bind(fd, (struct sockaddr *)&name, sizeof(name)) ? -1 : listen(fd, 5));
	say("link local again", bind(other, (struct sockaddr *)&name, sizeof(name)));
}

static void odd(const char *port, const char *port2)
{
	struct if_nameindex *all = if_nameindex();

	for (const struct if_nameindex *i = all; i && i->if_index; i++)
		try_listen("of an interface", "0.0.0.0", port, i->if_name, false);
	if_freenameindex(all);
	try_listen("of an interface again", "0.0.0.0", port, "lo", false);
	try_listen("of one and one address", "127.0.0.1", port, "lo", false);
	try_listen("of all beside", "0.0.0.0", port, NULL, false);
	try_listen("of both families on one beside", "::", port, "lo", false);
	try_listen("of nobody", "192.0.2.7", port2, NULL, false);
	try_listen("of nobody yet", "192.0.2.7", port2, NULL, true);
	try_listen("of nobody yet again", "192.0.2.7", port2, NULL, true);
	link_local(port);
}

static void serve(int listener)
{
	char request[4096];
	int fd;

	fflush(stdout);
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		plain_answer(fd, request, sizeof(request), getpid());
	plain_fail("accept");
}

static void a_free_port(void)
{
	int listener = plain_listener("127.0.0.1", "0");
	struct sockaddr_in name;
	socklen_t length = sizeof(name);

	if (getsockname(listener, (struct sockaddr *)&name, &length) < 0)
		plain_fail("getsockname");
	printf("%d has port %d\n", (int)getpid(), ntohs(name.sin_port));
	serve(listener);
}

static void a_unix_socket(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	if (listener < 0 || bind(listener, (struct sockaddr *)&name, sizeof(name)) < 0)
		plain_fail("bind");
	plain_listen(listener);
	printf("%d has %s\n", (int)getpid(), path);
	serve(listener);
}

static void udp(const char *port)
{
	int fd = plain_socket("127.0.0.1", SOCK_DGRAM, 0);
	struct sockaddr_storage from;
	char text[64];

	plain_bind(fd, "127.0.0.1", port);
	printf("%d has udp\n", (int)getpid());
	fflush(stdout);
	for (;;) {
		socklen_t length = sizeof(from);
		ssize_t n = recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &length);

		if (n < 0)
			plain_fail("recvfrom");
		n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
		sendto(fd, text, (size_t)n, 0, (struct sockaddr *)&from, length);
	}
}

static void many(const char *port, int count)
{
	int first = -1;

	for (int i = 1; i <= count; i++) {
		char host[32];
		int fd;

		snprintf(host, sizeof(host), "127.1.0.%d", i);
		fd = plain_socket(host, SOCK_STREAM, 0);
		plain_bind(fd, host, port);
		if (first < 0)
			first = fd;
	}
	printf("%d has bound %d\n", (int)getpid(), count);
	plain_listen(first);
	serve(first);
}

static void on_alarm(int number)
{
}

static void set_alarm(int flags, suseconds_t every_us)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
	struct itimerval timer = {{0, every_us}, {0, every_us}};

	if (sigaction(SIGALRM, &action, NULL) < 0 || setitimer(ITIMER_REAL, &timer, NULL) < 0)
		plain_fail("setitimer");
}

/* As a careful program does; what it is not to meet alone is counted. */
static int insist(int result, const char *what, int *interrupted)
{
	if (result < 0 && errno != EINTR)
		plain_fail(what);
	*interrupted += result < 0;
	return result;
}

static void alarmed(const char *port, int count, int flags)
{
	int first = -1, interrupted = 0;

	set_alarm(flags, 100);
	for (int i = 1; i <= count; i++) {
		char host[32];
		int fd;

		snprintf(host, sizeof(host), "127.1.0.%d", i);
		fd = plain_socket(host, SOCK_STREAM, 0);
		while (insist(try_bind(fd, host, port), "bind", &interrupted) < 0)
			;
		while (insist(listen(fd, 128), "listen", &interrupted) < 0)
			;
		if (first < 0)
			first = fd;
		else
			close(fd);
	}
	set_alarm(SA_RESTART, 0);
	printf("%d has bound %d, %d calls interrupted\n", (int)getpid(), count, interrupted);
	serve(first);
}

static int try_to_listen(const char *host, const char *port)
{
	int fd = plain_socket(host, SOCK_STREAM, 0), bound = try_bind(fd, host, port);

	if (bound == 0 && listen(fd, 128) == 0)
		return fd;
	printf("%d cannot %s: %s\n", (int)getpid(), bound < 0 ? "bind" : "listen", strerrorname_np(errno));
	close(fd);
	return -1;
}

static void steps(const char *port)
{
	char host[32], request[4096];
	struct pollfd fds[256];
	nfds_t count = 0;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fds[count++] = (struct pollfd){signalfd(-1, &set, SFD_CLOEXEC), POLLIN, 0};
	printf("%d waits\n", (int)getpid());
	for (fflush(stdout); poll(fds, count, -1) > 0; fflush(stdout)) {
		struct signalfd_siginfo info;

		for (nfds_t i = 1; i < count; i++)
			if (fds[i].revents)
				plain_answer(accept4(fds[i].fd, NULL, NULL, SOCK_CLOEXEC), request, sizeof(request),
					     getpid());
		if (!fds[0].revents || count == 256 || read(fds[0].fd, &info, sizeof(info)) != sizeof(info))
			continue;
		snprintf(host, sizeof(host), "127.1.0.%d", (int)count);
		fds[count].events = POLLIN;
		fds[count].fd = try_to_listen(host, port);
		if (fds[count].fd < 0)
			continue;
		printf("%d has bound %d\n", (int)getpid(), (int)count);
		count++;
	}
}

static void *listen_there(void *port)
{
	static _Atomic int number;
	char host[32];

	snprintf(host, sizeof(host), "127.1.0.%d", ++number);
	return (void *)(intptr_t)plain_listener(host, port);
}

static void at_once(char *port, int count)
{
	pthread_t threads[100];
	void *first = NULL;

	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, listen_there, port) != 0)
			plain_fail("pthread_create");
	for (int i = count; i-- > 0;)
		pthread_join(threads[i], &first);
	printf("%d listens %d times\n", (int)getpid(), count);
	serve((int)(intptr_t)first);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "errors") == 0 && argc > 3)
		errors(argv[2], argv[3]);
	else if (strcmp(mode, "free") == 0)
		a_free_port();
	else if (strcmp(mode, "unix") == 0 && argc > 2)
		a_unix_socket(argv[2]);
	else if (strcmp(mode, "odd") == 0 && argc > 3)
		odd(argv[2], argv[3]);
	else if (strcmp(mode, "udp") == 0 && argc > 2)
		udp(argv[2]);
	else if (strcmp(mode, "many") == 0 && argc > 3)
		many(argv[2], atoi(argv[3]));
	else if (strcmp(mode, "alarmed") == 0 && argc > 3)
		alarmed(argv[2], atoi(argv[3]), SA_RESTART);
	else if (strcmp(mode, "interrupted") == 0 && argc > 3)
		alarmed(argv[2], atoi(argv[3]), 0);
	else if (strcmp(mode, "at-once") == 0 && argc > 3)
		at_once(argv[2], atoi(argv[3]) % 100);
	else if (strcmp(mode, "steps") == 0 && argc > 2)
		steps(argv[2]);
	else
		return 2;
	return 0;
}
