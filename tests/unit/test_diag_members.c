/* Who listens at the very address of a socket: the members of its SO_REUSEPORT group, and nobody else at that port. */
#include "net/diag.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 8 };

union name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t name_of(int fd, union name *ret)
{
	socklen_t size = sizeof(*ret);

	assert_int_equal(getsockname(fd, &ret->any, &size), 0);
	return size;
}

/* The port is at the same place in both families. */
static int bound(const char *host, in_port_t port, int v6only)
{
	union name name = {.v4 = {.sin_family = strchr(host, ':') ? AF_INET6 : AF_INET, .sin_port = port}};
	int fd = socket(name.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	bool is_v6 = name.any.sa_family == AF_INET6;

	if (fd < 0) {
		print_message("no such family here\n");
		skip();
	}
	assert_int_equal(inet_pton(name.any.sa_family, host,
				   is_v6 ? (void *)&name.v6.sin6_addr : (void *)&name.v4.sin_addr), 1);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	if (is_v6)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)), 0);
	assert_int_equal(bind(fd, &name.any, is_v6 ? sizeof(name.v6) : sizeof(name.v4)), 0);
	return fd;
}

static int listening(const char *host, in_port_t port, int v6only)
{
	int fd = bound(host, port, v6only);

	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static in_port_t port_of(int fd)
{
	union name name;

	name_of(fd, &name);
	return name.v4.sin_port;
}

static void assert_members(struct diag *d, const int *fds, unsigned count)
{
	uint32_t inodes[MOST];
	struct stat st;

	assert_int_equal(diag_members(d, fds[0], inodes, MOST), count);
	for (unsigned i = 0; i < count; i++) {
		bool found = false;

		assert_int_equal(fstat(fds[i], &st), 0);
		for (unsigned j = 0; j < count; j++)
			found |= inodes[j] == st.st_ino;
		assert_true(found);
	}
}

static struct diag *open_diag(int listener)
{
	uint32_t inode;
	struct diag *d = NULL;

	if (diag_open(&d) < 0 || diag_members(d, listener, &inode, 1) < 0) {
		print_message("the kernel does not tell of sockets here\n");
		diag_close(d);
		skip();
	}
	return d;
}

static void test_others_at_the_port(void **state)
{
	int fds[3] = {listening("0.0.0.0", 0, 0)}, specific, idle;
	struct diag *d = open_diag(fds[0]);
	in_port_t port = port_of(fds[0]);
	uint32_t inode;

	assert_members(d, fds, 1);
	specific = listening("127.0.0.1", port, 0);
	idle = bound("0.0.0.0", port, 0);
	assert_members(d, fds, 1);
	assert_members(d, &specific, 1);
	fds[1] = listening("0.0.0.0", port, 0);
	fds[2] = listening("0.0.0.0", port, 0);
	assert_members(d, fds, 3);
	assert_int_equal(diag_members(d, fds[0], &inode, 1), 3); /* more than there is room for */
	shutdown(fds[2], SHUT_RDWR);
	assert_members(d, fds, 2);
	close(idle);
	close(specific);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
	diag_close(d);
}

static void test_families(void **state)
{
	int v4 = listening("0.0.0.0", 0, 0), both, v6[2];
	in_port_t port = port_of(v4);
	struct diag *d = open_diag(v4);

	both = listening("::", port, 0);
	v6[0] = listening("::", port, 1);
	v6[1] = listening("::", port, 1);
	assert_members(d, &v4, 1);
	assert_members(d, &both, 1);
	assert_members(d, v6, 2);
	close(v4);
	close(both);
	close(v6[0]);
	close(v6[1]);
	diag_close(d);
}

static void test_not_of_the_internet(void **state)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), tcp = listening("127.0.0.1", 0, 0);
	struct diag *d = open_diag(tcp);
	uint32_t inode;

	assert_true(diag_members(d, fd, &inode, 1) < 0);
	assert_true(diag_members(d, -1, &inode, 1) < 0);
	close(fd);
	close(tcp);
	diag_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_others_at_the_port),
	    cmocka_unit_test(test_families),
	    cmocka_unit_test(test_not_of_the_internet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
