/* Whether a program's connections are busy: the rule as a table, and real ones on the loopback, of a process with
 * descendants. */
#include "net/connections.h"

#include "base/fd.h"
#include "base/proc.h"
#include "net/diag.h"
#include "dumps.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { LOOKS = 5000, TICKS_MS = 40, MOST = 16 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define WAIT_FOR(condition)                                                                                        \
	do {                                                                                                       \
		int left = LOOKS;                                                                         \
		while (!(condition) && left-- > 0)                                                              \
			poll(NULL, 0, 1);                                                                          \
		assert_true(left > 0);                                                                          \
	} while (0)

/* ---- the rule ---- */

static const struct {
	const char *what;
	struct connection c; /* received, sent; ago: received, sent, heard; unread, unacked; half closed */
	bool idle;
} late[] = {
    {"a stream", {10, 90, 2400, 200, 200, 0, 0, false}, true},
    {"a stream that has just spoken", {10, 90, 2400, 196, 196, 0, 0, false}, false},
    {"a request is owed an answer", {20, 20, 100, 900, 100, 0, 0, false}, false},
    {"one tick", {20, 20, 500, 500, 500, 0, 0, false}, false},
}, cases[] = {
    {"answered", {10, 20, 900, 880, 880, 0, 0, false}, true},
    {"answered just now", {10, 20, 300, 100, 100, 0, 0, false}, false},
    {"answered, a moment ago", {10, 20, 300, 200, 200, 0, 0, false}, true},
    {"a stream that has just spoken", {10, 90, 2400, 396, 396, 0, 0, false}, false},
    {"for nearly as long as it has lasted", {10, 90, 1600, 796, 796, 0, 0, false}, false},
    {"for as long as it has lasted", {10, 90, 1600, 800, 800, 0, 0, false}, true},
    {"a long one, nearly for long", {10, 90, 90000, 2996, 2996, 0, 0, false}, false},
    {"a long one, for long", {10, 90, 90000, 3000, 3000, 0, 0, false}, true},
    {"a request is owed an answer", {20, 20, 100, 900, 100, 0, 0, false}, false},
    {"for long", {20, 20, 60000, 90000, 60000, 0, 0, false}, false},
    {"the first request", {10, 0, 5000, 5000, 5000, 0, 0, false}, false},
    {"the first request, late", {10, 0, 5000, 9000, 5000, 0, 0, false}, false},
    {"unread", {20, 20, 900, 880, 880, 1, 0, false}, false},
    {"unacknowledged", {20, 20, 900, 880, 880, 0, 1, false}, false},
    {"one tick", {20, 20, 500, 500, 500, 0, 0, false}, false},
    {"one tick, nearly for long", {20, 20, 2996, 2996, 2996, 0, 0, false}, false},
    {"one tick, for long", {20, 20, 3000, 3000, 3000, 0, 0, false}, true},
    {"one tick, and acknowledged", {20, 20, 500, 500, 460, 0, 0, false}, true},
    {"one tick, acknowledged, just now", {20, 20, 196, 196, 100, 0, 0, false}, false},
    {"one tick, then its end", {20, 20, 500, 500, 460, 0, 0, true}, false},
    {"one tick, then its end, for long", {20, 20, 5000, 5000, 460, 0, 0, true}, true},
    {"silent and new", {0, 0, 100, 100, 100, 0, 0, false}, false},
    {"silent", {0, 0, 200, 200, 200, 0, 0, false}, true},
    {"silent, a keep-alive heard", {0, 0, 900, 900, 0, 0, 0, false}, true},
    {"greeted", {0, 20, 900, 880, 880, 0, 0, false}, true},
    {"greeted just now", {0, 20, 900, 100, 100, 0, 0, false}, false},
    {"greeted at once", {0, 20, 900, 900, 900, 0, 0, false}, true},
    {"its end alone, unread", {1, 0, 900, 900, 0, 1, 0, true}, false},
    {"its end alone, read", {1, 0, 900, 900, 0, 0, 0, true}, true},
    {"its end alone, after a greeting", {1, 20, 900, 900, 0, 0, 0, true}, true},
    {"a request and its end", {11, 0, 900, 900, 0, 0, 0, true}, false},
    {"a request, an answer, its end", {11, 20, 900, 880, 0, 0, 0, true}, true},
    {"an answer, a request, its end", {21, 20, 880, 900, 0, 0, 0, true}, false},
};

static void test_rule(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (connection_is_idle(&cases[i].c, false) != cases[i].idle)
			fail_msg("%s", cases[i].what);
	for (size_t i = 0; i < COUNT(late); i++)
		if (connection_is_idle(&late[i].c, true) != late[i].idle)
			fail_msg("late: %s", late[i].what);
}

static void test_between(void **state)
{
	static const struct {
		const char *what;
		struct connection c;
		uint64_t before;
		bool between;
	} moments[] = {
		{"answered, a tick ago", {30, 30, 4, 4, 4, 0, 0, false}, 20, true},
		{"and not yet acknowledged", {30, 30, 8, 4, 8, 0, 6, false}, 20, true},
		{"in this tick", {30, 30, 0, 0, 0, 0, 0, false}, 20, false},
		{"an answer is owed", {30, 30, 4, 8, 4, 0, 0, false}, 20, false},
		{"a request is unread", {30, 30, 4, 4, 4, 10, 0, false}, 20, false},
		{"nothing came since", {30, 30, 4, 4, 4, 0, 0, false}, 30, false},
		{"it is new", {30, 30, 4, 4, 4, 0, 0, false}, 0, false},
		{"it was never answered", {30, 0, 4, 4, 4, 0, 0, false}, 20, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(moments); i++)
		if (connection_is_between(&moments[i].c, moments[i].before) != moments[i].between)
			fail_msg("%s", moments[i].what);
}

/* ---- a program of one, two or three processes: what it is told to do, the youngest does ---- */

enum order { ACCEPT, READ, READ_END, ANSWER, FLOOD, CLOSE };

struct program {
	pid_t pid;
	int talk, port;
	struct diag *diag;
};

static void obey(enum order order, int listener, int connections[MOST], int *count)
{
	static char bytes[65536];
	int last = *count ? connections[*count - 1] : -1;

	switch (order) {
	case ACCEPT:
		connections[(*count)++] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		break;
	case READ:
		recv(last, bytes, 7, MSG_WAITALL);
		break;
	case READ_END:
		while (recv(last, bytes, sizeof(bytes), 0) > 0)
			;
		break;
	case ANSWER: /* in another tick than what came before */
		poll(NULL, 0, TICKS_MS);
		send(last, "answer", 6, MSG_NOSIGNAL);
		break;
	case FLOOD:
		while (send(last, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
			;
		break;
	case CLOSE:
		close(connections[--*count]);
		break;
	}
}

/* The elder ones do nothing; with orphan the youngest one's parent dies. */
static _Noreturn void run(int listener, int talk, int depth, bool orphan)
{
	int connections[MOST], count = 0;
	char order;

	for (; depth > 0; depth--) {
		pid_t child = fork();

		if (child == 0)
			continue;
		if (orphan && depth == 1)
			_exit(0);
		close(listener);
		waitpid(child, NULL, 0);
		poll(&(struct pollfd){.fd = talk}, 1, -1); /* until the test is over */
		_exit(0);
	}
	while (recv(talk, &order, 1, 0) == 1) {
		obey((enum order)order, listener, connections, &count);
		send(talk, "", 1, MSG_NOSIGNAL);
	}
	_exit(0);
}

static void begin(struct program *p, int listener, int depth, bool orphan)
{
	struct sockaddr_in6 name;
	socklen_t len = sizeof(name);
	int pair[2];

	assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &len), 0);
	p->port = ntohs(name.sin6_port); /* in the same place in both */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	p->pid = fork();
	if (p->pid == 0) {
		setpgid(0, 0);
		close(pair[0]);
		run(listener, pair[1], depth, orphan);
	}
	setpgid(p->pid, p->pid);
	close(pair[1]);
	p->talk = pair[0];
	assert_int_equal(diag_open(&p->diag), 0);
}

static void end(struct program *p)
{
	close(p->talk);
	assert_int_equal(waitpid(p->pid, NULL, 0), p->pid);
	diag_close(p->diag);
}

static void tell(const struct program *p, enum order order)
{
	char byte = (char)order;

	assert_int_equal(send(p->talk, &byte, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(p->talk, &byte, 1, 0), 1);
}

static struct connections look(const struct program *p)
{
	struct connections seen = {12345, 12345, 12345};
	struct inodes of = {0};

	assert_int_equal(inodes_of_tree(p->pid, &of), 0);
	for (size_t i = 1; i < of.count; i++)
		assert_true(of.list[i - 1].number <= of.list[i].number);
	assert_int_equal(connections_look(p->diag, p->port, &of, false, &seen), 0);
	inodes_finish(&of);
	return seen;
}

static void assert_seen(const struct program *p, unsigned open, unsigned busy)
{
	struct connections seen = {0};

	WAIT_FOR((seen = look(p), seen.open == open && seen.busy == busy));
}

/* ---- sockets ---- */

static int listening(int family)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
			      family == AF_INET ? sizeof(v4) : sizeof(v6)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static int connected(int family, int port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT,
				  .sin6_port = htons((uint16_t)port)};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
				 family == AF_INET ? sizeof(v4) : sizeof(v6)), 0);
	return fd;
}

static void ask(int fd)
{
	assert_int_equal(send(fd, "request", 7, MSG_NOSIGNAL), 7);
}

/* ---- what they do ---- */

static int accepted(const struct program *p, int family)
{
	int fd = connected(family, p->port);

	tell(p, ACCEPT);
	return fd;
}

/* One of each kind, made one after the other; returns how many. The last four stay busy. */
static unsigned make_one_of_each(const struct program *p, int family, int fds[MOST])
{
	int n = 0;

	fds[n++] = accepted(p, family); /* silent */
	fds[n++] = accepted(p, family); /* answered */
	ask(fds[n - 1]);
	tell(p, READ);
	tell(p, ANSWER);
	fds[n++] = accepted(p, family); /* answered, and the client has said all */
	ask(fds[n - 1]);
	tell(p, READ);
	tell(p, ANSWER);
	assert_int_equal(shutdown(fds[n - 1], SHUT_WR), 0);
	tell(p, READ_END);
	fds[n++] = accepted(p, family); /* its request is unread */
	ask(fds[n - 1]);
	fds[n++] = accepted(p, family); /* it is owed an answer */
	ask(fds[n - 1]);
	tell(p, READ);
	fds[n++] = accepted(p, family); /* the same, and the client has said all */
	ask(fds[n - 1]);
	assert_int_equal(shutdown(fds[n - 1], SHUT_WR), 0);
	tell(p, READ_END);
	fds[n++] = accepted(p, family); /* it does not read its answer */
	ask(fds[n - 1]);
	tell(p, READ);
	tell(p, FLOOD);
	return (unsigned)n;
}

static void check(struct program *p, const int *families, size_t count)
{
	int fds[COUNT(cases)];
	unsigned n = 0;

	assert_seen(p, 0, 0);
	for (size_t i = 0; i < count; i++)
		n += make_one_of_each(p, families[i], fds + n);
	assert_seen(p, n, n / 7 * 4);
	poll(NULL, 0, 500); /* however long they are quiet */
	assert_seen(p, n, n / 7 * 4);
	tell(p, CLOSE);
	assert_seen(p, n - 1, n / 7 * 4 - 1);
	while (n > 0)
		fd_close(&fds[--n]);
}

static void test_connections(void **state)
{
	struct program p;
	int listener = listening(AF_INET), alien;

	(void)state;
	need_dumps();
	begin(&p, listener, 0, false);
	check(&p, (int[]){AF_INET}, 1);
	end(&p);

	/* What another process has of the same port is not the program's. */
	begin(&p, listener, 0, false);
	alien = connected(AF_INET, p.port);
	fd_close(&alien);
	alien = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(alien >= 0);
	assert_seen(&p, 0, 0);
	fd_close(&alien);
	end(&p);
	close(listener);
}

static void test_both_families(void **state)
{
	struct program p;
	int listener;

	(void)state;
	need_dumps();
	need_ipv6();
	listener = listening(AF_INET6);
	begin(&p, listener, 0, false);
	check(&p, (int[]){AF_INET, AF_INET6}, 2);
	end(&p);
	close(listener);
}

static void test_descendants(void **state)
{
	struct program p;
	int listener = listening(AF_INET);

	(void)state;
	need_dumps();
	begin(&p, listener, 2, false);
	check(&p, (int[]){AF_INET}, 1);
	end(&p);
	close(listener);
}

static void test_of_another(void **state)
{
	struct inodes of = {0};
	int one = listening(AF_INET), other = listening(AF_INET);

	(void)state;
	assert_false(inodes_of_another(&of, one, 1));
	for (int process = 1; process <= 2; process++) {
		assert_int_equal(inodes_add_fd(&of, one), 0);
		of.list[of.count - 1].process = 1;
		assert_int_equal(inodes_add_fd(&of, other), 0);
		of.list[of.count - 1].process = process;
	}
	assert_false(inodes_of_another(&of, one, 1));
	assert_true(inodes_of_another(&of, one, 2));
	assert_true(inodes_of_another(&of, other, 1));
	assert_true(inodes_of_another(&of, other, 2));
	assert_false(inodes_of_another(&of, -1, 2));
	inodes_finish(&of);
	close(one);
	close(other);
}

/* The middle one of three has died: the youngest is another's child, and of the group. */
static void test_orphan(void **state)
{
	struct program p;
	int listener = listening(AF_INET), fd;

	(void)state;
	need_dumps();
	begin(&p, listener, 2, true);
	fd = accepted(&p, AF_INET);
	ask(fd);
	assert_seen(&p, 1, 1);
	fd_close(&fd);
	end(&p);
	close(listener);
}

/* ---- ending idle ones ---- */

static void test_end_idle(void **state)
{
	int listener, fds[MOST];
	struct connections seen;
	struct inodes of;
	struct program p;
	unsigned n;

	(void)state;
	need_dumps();
	need_copies();
	listener = listening(AF_INET);
	begin(&p, listener, 0, false);
	n = make_one_of_each(&p, AF_INET, fds);
	assert_seen(&p, n, 4);
	assert_int_equal(inodes_of_tree(p.pid, &of), 0);
	assert_int_equal(connections_end_idle(&of, false), 0); /* none was looked at */
	assert_int_equal(connections_look(p.diag, p.port, &of, false, &seen), 0);
	ask(fds[1]); /* it speaks after the look */
	assert_int_equal(connections_end_idle(&of, false), 1); /* the silent one; one has had its end */
	assert_int_equal(connections_look(p.diag, p.port, &of, false, &seen), 0);
	assert_int_equal(connections_end_idle(&of, false), 0); /* each once */
	inodes_finish(&of);
	while (n > 0)
		fd_close(&fds[--n]);
	end(&p);
	close(listener);
}

/* The program sees an end, and its client none; what the client says all the same is answered. */
static void test_what_an_end_is(void **state)
{
	int listener, fd;
	struct connections seen;
	struct inodes of;
	struct program p;
	char answer[64];

	(void)state;
	need_dumps();
	need_copies();
	listener = listening(AF_INET);
	begin(&p, listener, 0, false);
	fd = accepted(&p, AF_INET);
	assert_seen(&p, 1, 0);
	assert_int_equal(inodes_of_tree(p.pid, &of), 0);
	assert_int_equal(connections_look(p.diag, p.port, &of, false, &seen), 0);
	assert_int_equal(connections_end_idle(&of, false), 1);
	tell(&p, READ_END);
	assert_int_equal(recv(fd, answer, sizeof(answer), MSG_DONTWAIT), -1);
	ask(fd);
	tell(&p, READ);
	tell(&p, ANSWER);
	assert_true(recv(fd, answer, sizeof(answer), 0) > 0);
	tell(&p, CLOSE);
	assert_int_equal(recv(fd, answer, sizeof(answer), 0), 0);
	inodes_finish(&of);
	fd_close(&fd);
	end(&p);
	close(listener);
}

/* Another socket has its number by then. */
static void test_end_another(void **state)
{
	int listener, fds[2];
	struct connections seen;
	struct inodes of;
	struct program p;

	(void)state;
	need_dumps();
	need_copies();
	listener = listening(AF_INET);
	begin(&p, listener, 0, false);
	fds[0] = accepted(&p, AF_INET);
	assert_seen(&p, 1, 0);
	assert_int_equal(inodes_of_tree(p.pid, &of), 0);
	assert_int_equal(connections_look(p.diag, p.port, &of, false, &seen), 0);
	tell(&p, CLOSE);
	fds[1] = accepted(&p, AF_INET);
	assert_int_equal(connections_end_idle(&of, false), 0);
	inodes_finish(&of);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	end(&p);
	close(listener);
}

/* ---- whom we may look at ---- */

static void test_inodes(void **state)
{
	struct inodes of = {0};
	pid_t parent = 0, group = 0, dead = fork();
	int status;

	(void)state;
	if (dead == 0)
		_exit(0);
	assert_int_equal(waitpid(dead, NULL, 0), dead);
	assert_int_equal(inodes_of_tree(dead, &of), 0);
	assert_int_equal(of.count, 0);
	inodes_finish(&of);
	assert_false(proc_family(dead, &parent, &group));
	assert_true(proc_family(getpid(), &parent, &group));
	assert_int_equal(parent, getppid());
	assert_int_equal(group, getpgrp());

	if (geteuid() != 0)
		return;
	dead = fork();
	if (dead == 0)
		_exit(setuid(65534) || inodes_of_tree(getppid(), &of) != -EACCES || of.list);
	assert_int_equal(waitpid(dead, &status, 0), dead);
	assert_int_equal(status, 0);
}

static bool has_inode(const struct inodes *of, int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	for (size_t i = 0; i < of->count; i++)
		if (of->list[i].number == st.st_ino)
			return true;
	return false;
}

static sem_t has_own;

static void *have_own(void *data)
{
	if (unshare(CLONE_FILES) < 0)
		_exit(1);
	sem_post(&has_own);
	return pause() < 0 ? data : NULL;
}

/* Only its second thread has fd: the first has ended, or has closed it in its own table. */
static _Noreturn void run_threads(bool has_table, int fd, int talk)
{
	pthread_t thread;

	sem_init(&has_own, 0, 0);
	pthread_create(&thread, NULL, have_own, NULL);
	sem_wait(&has_own);
	if (has_table)
		close(fd);
	send(talk, "", 1, 0);
	if (!has_table)
		pthread_exit(NULL);
	for (;;)
		pause();
}

static bool tree_has(pid_t pid, int fd)
{
	struct inodes of = {0};
	bool found = inodes_of_tree(pid, &of) == 0 && has_inode(&of, fd);

	inodes_finish(&of);
	return found;
}

static void test_inodes_of_threads(void **state)
{
	(void)state;
	for (int has_table = 0; has_table < 2; has_table++) {
		int pair[2], fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		pid_t pid;
		char byte;

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_threads(has_table, fd, pair[1]);
		}
		assert_int_equal(recv(pair[0], &byte, 1, 0), 1);
		for (int i = 0; i < 5; i++) /* its first thread may not be gone yet */
			assert_true(tree_has(pid, fd) && poll(NULL, 0, 2) == 0);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		close(pair[0]);
		close(pair[1]);
		close(fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rule),
	    cmocka_unit_test(test_between),
	    cmocka_unit_test(test_connections),
	    cmocka_unit_test(test_both_families),
	    cmocka_unit_test(test_descendants),
	    cmocka_unit_test(test_of_another),
	    cmocka_unit_test(test_orphan),
	    cmocka_unit_test(test_end_idle),
	    cmocka_unit_test(test_what_an_end_is),
	    cmocka_unit_test(test_end_another),
	    cmocka_unit_test(test_inodes),
    cmocka_unit_test(test_inodes_of_threads),
	};

	return cmocka_run_group_tests(tests, dumps_set_up, NULL);
}
