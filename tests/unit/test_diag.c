/* What the kernel says of sockets, with real ones on the loopback: queues of TCP and UDP, handshakes
 * that are not over, clients by port. Of unix sockets: test_diag_unix. */
#include "net/diag.h"

#include "base/fd.h"
#include "dumps.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEADLINE_MS = 20000, MANY = 500 };

/* Of the loopback a handshake is mostly over when connect() returns; on a machine that is busy it need not be. */
#define WAIT_FOR(condition)                                                                                        \
	do {                                                                                                       \
		int left_ms = DEADLINE_MS;                                                                         \
		while (!(condition) && left_ms-- > 0)                                                              \
			poll(NULL, 0, 1);                                                                          \
		assert_true(left_ms > 0);                                                                          \
	} while (0)

/* ---- sockets ---- */

union name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t name_of(const char *host, int port, union name *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (strchr(host, ':')) {
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = htons((uint16_t)port);
		assert_int_equal(inet_pton(AF_INET6, host, &ret->v6.sin6_addr), 1);
		return sizeof(ret->v6);
	}
	ret->v4.sin_family = AF_INET;
	ret->v4.sin_port = htons((uint16_t)port);
	assert_int_equal(inet_pton(AF_INET, host, &ret->v4.sin_addr), 1);
	return sizeof(ret->v4);
}

static int port_of(int fd)
{
	union name name;
	socklen_t len = sizeof(name);

	assert_int_equal(getsockname(fd, &name.any, &len), 0);
	return ntohs(name.v4.sin_port); /* in the same place in both */
}

static int bound(const char *host, int type)
{
	union name name;
	socklen_t len = name_of(host, 0, &name);
	int fd = socket(name.any.sa_family, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &name.any, len), 0);
	return fd;
}

static int listening(const char *host, int backlog)
{
	int fd = bound(host, SOCK_STREAM);

	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static int connected(const char *from, const char *to, int port)
{
	int fd = bound(from, SOCK_STREAM);
	union name name;
	socklen_t len = name_of(to, port, &name);

	assert_int_equal(connect(fd, &name.any, len), 0);
	return fd;
}

static void close_all(int *fds, int count)
{
	while (count-- > 0)
		fd_close(&fds[count]);
}

/* ---- queues ---- */

static unsigned waiting(int fd)
{
	struct diag_queue q;

	assert_int_equal(diag_queue(fd, &q), 0);
	return q.waiting;
}

static void assert_queue(int fd, unsigned expected, unsigned backlog, bool is_shut)
{
	struct diag_queue q = {.waiting = 12345};

	assert_int_equal(diag_queue(fd, &q), 0);
	assert_int_equal(q.waiting, expected);
	assert_int_equal(q.backlog, backlog);
	assert_int_equal(q.is_shut, is_shut);
}

static void check_tcp_queue(const char *host, const char *const *clients, int count)
{
	int fds[8], fd = listening(host, 17);

	assert_queue(fd, 0, 17, false);
	for (int i = 0; i < count; i++) {
		fds[i] = connected(clients[i], clients[i], port_of(fd));
		WAIT_FOR(waiting(fd) == (unsigned)i + 1);
	}
	assert_queue(fd, (unsigned)count, 17, false);
	fds[count] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fds[count] >= 0);
	assert_queue(fd, (unsigned)count - 1, 17, false);
	assert_int_equal(listen(fd, 23), 0);
	assert_queue(fd, (unsigned)count - 1, 23, false);

	assert_int_equal(diag_queue(fds[count], &(struct diag_queue){0}), -EINVAL);
	assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
	assert_queue(fd, 0, 0, true);
	assert_int_equal(listen(fd, 5), 0);
	assert_queue(fd, 0, 5, false);
	close_all(fds, count + 1);
	close(fd);
}

static void test_tcp_queue(void **state)
{
	static const char *const clients[] = {"127.0.0.1", "127.0.0.2", "127.0.0.1"};

	(void)state;
	check_tcp_queue("0.0.0.0", clients, 3);
}

static void test_tcp_queue_ipv6(void **state)
{
	static const char *const clients[] = {"::1", "127.0.0.2", "::1"};

	(void)state;
	need_ipv6();
	check_tcp_queue("::1", clients, 1);
	check_tcp_queue("::", clients, 3);
}

static void test_udp_queue(void **state)
{
	char bytes[1000] = {0};
	int size, fd = bound("127.0.0.1", SOCK_DGRAM), client = bound("127.0.0.1", SOCK_DGRAM);
	socklen_t len = sizeof(size);
	union name name;

	(void)state;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &len), 0);
	assert_queue(fd, 0, (unsigned)size, false);
	len = name_of("127.0.0.1", port_of(fd), &name);
	assert_int_equal(connect(client, &name.any, len), 0);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(send(client, bytes, sizeof(bytes), 0), sizeof(bytes));
		WAIT_FOR(waiting(fd) >= i * sizeof(bytes));
	}
	assert_true(waiting(fd) < 3 * 10 * sizeof(bytes));
	for (int i = 0; i < 3; i++)
		assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_queue(fd, 0, (unsigned)size, false);
	close(client);
	close(fd);
}

/* ---- half-open ---- */

/* With TCP_DEFER_ACCEPT a handshake is not over before the client's first byte. */
static int deferring(const char *host)
{
	int seconds = 60, fd = bound(host, SOCK_STREAM);

	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static bool is_peer_of(const struct diag_peer *peer, const char *address, int client)
{
	struct in6_addr expected;

	assert_int_equal(inet_pton(AF_INET6, address, &expected), 1);
	return memcmp(peer->address, &expected, sizeof(expected)) == 0 && peer->port == port_of(client);
}

static void check_half_open(const char *host, const char *const *clients, const char *const *mapped, int count)
{
	int fds[4], fd = deferring(host), port = port_of(fd);
	struct diag_peer peers[8];
	struct diag *d = NULL;

	assert_int_equal(diag_open(&d), 0);
	assert_int_equal(diag_half_open(d, port, peers, 8), 0);
	for (int i = 0; i < count; i++)
		fds[i] = connected(clients[i], clients[i], port);
	assert_int_equal(diag_half_open(d, port, peers, 8), count);
	for (int i = 0; i < count; i++) {
		int found = 0;

		for (int p = 0; p < count; p++)
			found += is_peer_of(&peers[p], mapped[i], fds[i]);
		assert_int_equal(found, 1);
	}
	assert_int_equal(waiting(fd), 0);

	/* Of too many some, and how many there are. */
	peers[1].port = 1;
	assert_int_equal(diag_half_open(d, port, peers, 1), count);
	assert_int_equal(peers[1].port, 1);
	assert_int_equal(diag_half_open(d, port, NULL, 0), count);
	assert_int_equal(diag_half_open(d, port_of(fds[0]), peers, 8), 0);

	assert_int_equal(send(fds[0], "x", 1, 0), 1);
	WAIT_FOR(waiting(fd) == 1);
	assert_int_equal(diag_half_open(d, port, peers, 8), count - 1);
	for (int p = 0; p < count - 1; p++)
		assert_false(is_peer_of(&peers[p], mapped[0], fds[0]));
	close_all(fds, count);
	close(fd);
	diag_close(d);
}

static void test_half_open(void **state)
{
	static const char *const clients[] = {"127.0.0.2", "127.0.0.3", "127.0.0.2"};
	static const char *const mapped[] = {"::ffff:127.0.0.2", "::ffff:127.0.0.3", "::ffff:127.0.0.2"};

	(void)state;
	need_dumps();
	check_half_open("0.0.0.0", clients, mapped, 3);
}

static void test_half_open_ipv6(void **state)
{
	static const char *const clients[] = {"127.0.0.2", "::1", "::1"};
	static const char *const mapped[] = {"::ffff:127.0.0.2", "::1", "::1"};

	(void)state;
	need_dumps();
	need_ipv6();
	check_half_open("::", clients, mapped, 3);
	check_half_open("::1", clients + 1, mapped + 1, 2);
}

/* ---- clients ---- */

static unsigned connections(struct diag *d, int port)
{
	struct diag_clients c = {.busiest = 1, .address = "x"};

	assert_int_equal(diag_clients(d, port, false, &c), 0);
	assert_int_equal(c.busiest, 0);
	assert_string_equal(c.address, "");
	return c.connections;
}

static void assert_clients(struct diag *d, int port, unsigned count, unsigned busiest, const char *address)
{
	struct diag_clients c = {0};

	WAIT_FOR(connections(d, port) == count);
	assert_int_equal(diag_clients(d, port, true, &c), 0);
	assert_int_equal(c.connections, count);
	assert_int_equal(c.busiest, busiest);
	assert_string_equal(c.address, address);
}

static void test_clients(void **state)
{
	static const char *const from[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.2"};
	int fds[5], servers[5], fd = listening("0.0.0.0", 16), port = port_of(fd);
	struct diag *d = NULL;

	(void)state;
	need_dumps();
	assert_int_equal(diag_open(&d), 0);
	assert_clients(d, port, 0, 0, "");
	for (int i = 0; i < 5; i++)
		fds[i] = connected(from[i], "127.0.0.1", port);
	assert_clients(d, port, 5, 3, "127.0.0.2"); /* queued */
	for (int i = 0; i < 5; i++)
		servers[i] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_clients(d, port, 5, 3, "127.0.0.2");
	/* They are the server's: a client's own port is another. */
	assert_clients(d, port_of(fds[0]), 1, 1, "127.0.0.1");

	fd_close(&fds[1]); /* the client has closed: still one */
	assert_int_equal(recv(servers[1], &(char){0}, 1, 0), 0);
	assert_clients(d, port, 5, 3, "127.0.0.2");
	fd_close(&servers[1]); /* both have */
	assert_clients(d, port, 4, 2, "127.0.0.2");
	assert_int_equal(shutdown(servers[2], SHUT_WR), 0); /* the server has */
	assert_clients(d, port, 3, 2, "127.0.0.2");
	close_all(fds, 5);
	close_all(servers, 5);
	close(fd);
	diag_close(d);
}

/* IPv4 clients of a socket for both families are among the rows of IPv6, and told as what they are. */
static void test_clients_of_both_families(void **state)
{
	int fds[6], fd, port;
	struct diag *d = NULL;

	(void)state;
	need_dumps();
	need_ipv6();
	fd = listening("::", 16);
	port = port_of(fd);
	assert_int_equal(diag_open(&d), 0);
	fds[0] = connected("::1", "::1", port);
	assert_clients(d, port, 1, 1, "::1");
	fds[1] = connected("127.0.0.9", "127.0.0.1", port);
	fds[2] = connected("127.0.0.9", "127.0.0.1", port);
	assert_clients(d, port, 3, 2, "127.0.0.9");
	fds[3] = connected("::1", "::1", port);
	fds[4] = connected("::1", "::1", port);
	assert_clients(d, port, 5, 3, "::1");
	close_all(fds, 5);
	close(fd);
	diag_close(d);
}

/* More than one message of the kernel's holds. */
static void test_many_clients(void **state)
{
	static int fds[MANY];
	int fd = listening("0.0.0.0", MANY), port = port_of(fd);
	char from[32];
	struct diag *d = NULL;

	(void)state;
	need_dumps();
	assert_int_equal(diag_open(&d), 0);
	for (int i = 0; i < MANY; i++) {
		snprintf(from, sizeof(from), "127.0.%d.%d", 1 + i % 10 / 9, i % 10 == 9 ? 200 : 1 + i / 2 % 200);
		fds[i] = connected(from, "127.0.0.1", port);
	}
	assert_clients(d, port, MANY, MANY / 10, "127.0.2.200");
	close_all(fds, MANY);
	close(fd);
	diag_close(d);
}

/* ---- the socket itself ---- */

static void test_socket(void **state)
{
	int lowest = fcntl(0, F_DUPFD_CLOEXEC, 3), null;
	struct diag_peer peer;
	struct diag_clients c;
	struct diag *d = NULL;

	(void)state;
	close(lowest);
	need_dumps();
	assert_int_equal(diag_open(&d), 0);
	assert_int_equal(fcntl(lowest, F_GETFD), FD_CLOEXEC);
	assert_true(fcntl(lowest, F_GETFL) & O_NONBLOCK);
	assert_int_equal(diag_clients(d, 0, true, &c), -EINVAL);
	assert_int_equal(diag_clients(d, 65536, true, &c), -EINVAL);
	assert_int_equal(diag_half_open(d, -1, &peer, 1), -EINVAL);

	/* After an error the next question opens another one. */
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(dup3(null, lowest, O_CLOEXEC), lowest);
	close(null);
	assert_int_equal(diag_half_open(d, 1, &peer, 1), -ENOTSOCK);
	assert_int_equal(diag_half_open(d, 1, &peer, 1), 0);
	diag_close(d);
	assert_int_equal(fcntl(lowest, F_GETFD), -1);
	diag_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tcp_queue),
	    cmocka_unit_test(test_tcp_queue_ipv6),
	    cmocka_unit_test(test_udp_queue),
	    cmocka_unit_test(test_half_open),
	    cmocka_unit_test(test_half_open_ipv6),
	    cmocka_unit_test(test_clients),
	    cmocka_unit_test(test_clients_of_both_families),
	    cmocka_unit_test(test_many_clients),
	    cmocka_unit_test(test_socket),
	};

	return cmocka_run_group_tests(tests, dumps_set_up, NULL);
}
