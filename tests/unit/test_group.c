/* The order of a group is the kernel's: a program that returns each index reaches the socket that the table has
 * there, after members have come, left and come back in any order. */
#include "net/group.h"
#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIDES = 12 };

struct sockets {
	struct socket_wish wish;
	struct address bound;
	struct group group;
	struct group_member door, sides[SIDES];
	bool there[SIDES];
};

static void open_door(struct sockets *s, const char *text)
{
	struct socket_file file;
	const char *why;
	int fd;

	memset(s, 0, sizeof(*s));
	s->wish.fd = -1;
	s->wish.is_door = true;
	assert_int_equal(address_parse(text, &s->wish.address, &why), 0);
	fd = socket_open(&s->wish, &s->bound, &file);
	if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) {
		print_message("no such family here\n");
		skip();
	}
	assert_true(fd >= 0);
	assert_int_equal(group_add(&s->group, &s->door, fd), 0);
}

static void come(struct sockets *s, unsigned i)
{
	int fd = socket_open_side(&s->wish, &s->bound);

	assert_true(fd >= 0);
	assert_int_equal(group_add(&s->group, &s->sides[i], fd), 0);
	s->there[i] = true;
}

static void go(struct sockets *s, unsigned i)
{
	shutdown(s->sides[i].fd, SHUT_RDWR);
	group_remove(&s->group, &s->sides[i]);
	close(s->sides[i].fd);
	s->there[i] = false;
}

/* As a worker does, and the primary after it. */
static void shut_and_listen_again(struct sockets *s, unsigned i)
{
	shutdown(s->sides[i].fd, SHUT_RDWR);
	shutdown(s->sides[i].fd, SHUT_RDWR); /* again, when it does not listen any more */
	socket_listen_again(s->sides[i].fd, &s->wish);
	group_moved_to_end(&s->group, &s->sides[i]);
}

static void close_all(struct sockets *s)
{
	for (unsigned i = 0; i < SIDES; i++)
		if (s->there[i])
			go(s, i);
	close(s->door.fd);
	group_finish(&s->group);
}

static int connect_to(const struct sockets *s)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);
	int fd;

	assert_int_equal(getsockname(s->door.fd, (struct sockaddr *)&name, &len), 0);
	fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&name, len), 0);
	return fd;
}

static void check_member(const struct sockets *s, const struct group_member *m)
{
	struct sock_filter to = BPF_STMT(BPF_RET | BPF_K, m->index);
	struct pollfd p = {.fd = m->fd, .events = POLLIN};
	int client, got;

	assert_int_equal(group_attach(&s->group, &to, 1), 0);
	client = connect_to(s);
	assert_int_equal(poll(&p, 1, 5000), 1); /* it is this one */
	got = accept(m->fd, NULL, NULL);
	assert_true(got >= 0);
	assert_int_equal(send(got, "x", 1, MSG_NOSIGNAL), 1);
	close(got);
	close(client);
}

static void check(const struct sockets *s)
{
	check_member(s, &s->door);
	for (unsigned i = 0; i < SIDES; i++)
		if (s->there[i])
			check_member(s, &s->sides[i]);
	for (unsigned i = 0; i < s->group.count; i++)
		assert_int_equal(s->group.members[i]->index, i);
}

static void test_coming(void **state)
{
	static const char *const addresses[] = {"tcp://127.0.0.1:0", "tcp://[::1]:0", "tcp://:0"};
	struct sockets s;

	for (unsigned a = 0; a < sizeof(addresses) / sizeof(addresses[0]); a++) {
		open_door(&s, addresses[a]);
		check(&s);
		for (unsigned i = 0; i < SIDES; i++)
			come(&s, i);
		check(&s);
		close_all(&s);
	}
}

static void test_leaving(void **state)
{
	struct sockets s;

	open_door(&s, "tcp://127.0.0.1:0");
	for (unsigned i = 0; i < SIDES; i++)
		come(&s, i);
	go(&s, 1); /* the last one fills the gap */
	check(&s);
	go(&s, SIDES - 1);
	check(&s);
	come(&s, 1);
	check(&s);
	close_all(&s);
}

static void test_shut_by_others(void **state)
{
	struct sockets s;

	open_door(&s, "tcp://127.0.0.1:0");
	for (unsigned i = 0; i < 4; i++)
		come(&s, i);
	shut_and_listen_again(&s, 1);
	assert_int_equal(s.sides[1].index, 4);
	check(&s);
	shut_and_listen_again(&s, 1);
	shut_and_listen_again(&s, 3);
	check(&s);
	close_all(&s);
}

static void test_any_order(void **state)
{
	unsigned chance = 12345;
	struct sockets s;

	open_door(&s, "tcp://127.0.0.1:0");
	for (unsigned step = 1; step <= 400; step++) {
		unsigned i;

		chance = chance * 1103515245 + 12345;
		i = chance / 65536 % SIDES;
		if (!s.there[i])
			come(&s, i);
		else if (chance / 16777216 % 4 == 0)
			shut_and_listen_again(&s, i);
		else
			go(&s, i);
		if (step % 20 == 0)
			check(&s);
	}
	close_all(&s);
}

/* A copy elsewhere, a worker's, does not keep a socket in the group that was shut down. */
static void test_copies(void **state)
{
	struct sockets s;
	int copy;

	open_door(&s, "tcp://127.0.0.1:0");
	for (unsigned i = 0; i < 4; i++)
		come(&s, i);
	copy = dup(s.sides[0].fd);
	go(&s, 0);
	check(&s);
	come(&s, 0);
	check(&s);
	close(copy);
	check(&s);
	close_all(&s);
}

static void test_busy(void **state)
{
	struct socket_file file;
	struct address bound;
	struct sockets s;

	open_door(&s, "tcp://127.0.0.1:0");
	come(&s, 0);
	s.wish.address = s.bound;
	/* Another app's door, also of the same user, is not let in. */
	assert_int_equal(socket_open(&s.wish, &bound, &file), -EADDRINUSE);
	close_all(&s);
}

static void test_busy_udp(void **state)
{
	struct socket_file file;
	struct address bound;
	struct sockets s;

	open_door(&s, "udp://127.0.0.1:0");
	assert_true(s.bound.port > 0);
	come(&s, 0);
	s.wish.address = s.bound;
	assert_int_equal(socket_open(&s.wish, &bound, &file), -EADDRINUSE);
	close(s.sides[0].fd);
	s.there[0] = false;
	close_all(&s);
}

static void test_too_many(void **state)
{
	struct group g = {0};
	struct group_member *many = calloc(GROUP_MOST + 1, sizeof(*many));

	assert_non_null(many);
	for (unsigned i = 0; i < GROUP_MOST; i++)
		assert_int_equal(group_add(&g, &many[i], -1), 0);
	assert_int_equal(group_add(&g, &many[GROUP_MOST], -1), -EMFILE);
	group_finish(&g);
	free(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_coming),   cmocka_unit_test(test_leaving),  cmocka_unit_test(test_shut_by_others),
	    cmocka_unit_test(test_any_order), cmocka_unit_test(test_copies),   cmocka_unit_test(test_busy),
	    cmocka_unit_test(test_busy_udp), cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
