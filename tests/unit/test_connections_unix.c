/* Connections of a unix socket: which they are, and their end. */
#include "net/connections.h"

#include "base/fd.h"
#include "dumps.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
	int client, server;
};

static int listening(const char *text, struct sockaddr_un *name, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*name = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(name->sun_path, sizeof(name->sun_path), "%s", text);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text));
	if (text[0] == '@')
		name->sun_path[0] = '\0';
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)name, *len), 0);
	assert_int_equal(listen(fd, 7), 0);
	return fd;
}

static int connected(const struct sockaddr_un *name, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)name, len), 0);
	return fd;
}

static void have(struct inodes *of, int fd)
{
	assert_int_equal(inodes_add_fd(of, fd), 0);
	of->list[of->count - 1].thread = of->list[of->count - 1].process = getpid();
}

static void assert_open(const char *name, struct inodes *of, unsigned expected)
{
	struct connections seen = {12345, 12345, 12345};

	assert_int_equal(connections_look_unix(name, of, &seen), 0);
	assert_int_equal(seen.open, expected);
	assert_int_equal(seen.unseen, expected);
	assert_int_equal(seen.busy, 0);
}

/* The name is in the table twice and more: the listener's, one that waits, one that was accepted, and a longer name's. */
static void check(const char *text)
{
	char name[CONNECTIONS_NAME] = "", longer[CONNECTIONS_NAME];
	struct sockaddr_un address, other_address;
	socklen_t len, other_len;
	struct inodes of = {0};
	struct pair one, other;
	int listener = listening(text, &address, &len), other_listener;

	snprintf(longer, sizeof(longer), "%s0", text);
	other_listener = listening(longer, &other_address, &other_len);
	assert_int_equal(connections_name(listener, name), 0);
	assert_string_equal(name, text);

	one.client = connected(&address, len);
	have(&of, listener);
	assert_open(name, &of, 0);
	inodes_finish(&of);
	one.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_open(name, &of, 0); /* not the program's */
	have(&of, one.server);
	assert_open(name, &of, 1);

	inodes_finish(&of);
	other.client = connected(&other_address, other_len);
	other.server = accept4(other_listener, NULL, NULL, SOCK_CLOEXEC);
	have(&of, other.server);
	assert_open(name, &of, 0);
	assert_open(longer, &of, 1);
	inodes_finish(&of);
	for (size_t i = 0; i < 6; i++)
		close((int[]){one.client, one.server, other.client, other.server, listener, other_listener}[i]);
	if (text[0] != '@') {
		unlink(text);
		unlink(longer);
	}
}

static void test_names(void **state)
{
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), "@umbel-test-%d with 03 a space", (int)getpid());
	check(text);
	snprintf(text, sizeof(text), "umbel-test-%d.sock", (int)getpid());
	check(text);
}

static void test_no_name(void **state)
{
	char name[CONNECTIONS_NAME];
	int fds[2], tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(connections_name(fds[0], name), -EAFNOSUPPORT);
	assert_int_equal(connections_name(tcp, name), -EAFNOSUPPORT);
	assert_int_equal(connections_name(-1, name), -EBADF);
	close(fds[0]);
	close(fds[1]);
	close(tcp);
}

/* The program sees an end and can answer; its client cannot write any more. Not one that has said something. */
static void test_end(void **state)
{
	char text[64], byte;
	struct sockaddr_un address;
	struct inodes of = {0};
	struct pair p;
	socklen_t len;
	int listener;

	(void)state;
	need_copies();
	snprintf(text, sizeof(text), "@umbel-test-%d", (int)getpid());
	listener = listening(text, &address, &len);
	p.client = connected(&address, len);
	p.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	have(&of, p.server);
	assert_int_equal(connections_end_unseen(&of), 0); /* it was not looked at */

	assert_int_equal(send(p.client, "?", 1, MSG_NOSIGNAL), 1);
	assert_open(text, &of, 1);
	assert_int_equal(connections_end_unseen(&of), 0);
	assert_int_equal(recv(p.server, &byte, 1, 0), 1);

	assert_open(text, &of, 1);
	assert_int_equal(connections_end_unseen(&of), 1);
	assert_int_equal(recv(p.server, &byte, 1, 0), 0);
	assert_int_equal(send(p.server, "!", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(p.client, &byte, 1, 0), 1);
	assert_int_equal(send(p.client, "?", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);

	assert_open(text, &of, 1);
	assert_int_equal(connections_end_unseen(&of), 0); /* each once */
	fd_close(&p.server);
	assert_open(text, &of, 0);
	inodes_finish(&of);
	close(p.client);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_no_name),
	    cmocka_unit_test(test_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
