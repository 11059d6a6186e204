/* The queue of a listening unix socket, and what has no queue. */
#include "net/diag.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_queue(int fd, unsigned expected, unsigned backlog, bool is_shut)
{
	struct diag_queue q = {.waiting = 12345};

	assert_int_equal(diag_queue(fd, &q), 0);
	assert_int_equal(q.waiting, expected);
	assert_int_equal(q.backlog, backlog);
	assert_int_equal(q.is_shut, is_shut);
}

static void close_all(int *fds, int count)
{
	while (count-- > 0)
		fd_close(&fds[count]);
}

static void need_unix_diag(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int err, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 1), 0);
	err = diag_queue(fd, &(struct diag_queue){0});
	close(fd);
	if (err) {
		print_message("skipped: no unix_diag here: %s\n", strerror(-err));
		skip();
	}
}

static int unix_listening(int type, struct sockaddr_un *name, socklen_t *len)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	*name = (struct sockaddr_un){.sun_family = AF_UNIX};
	*len = sizeof(*name);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)name, sizeof(sa_family_t)), 0); /* some abstract name */
	assert_int_equal(diag_queue(fd, &(struct diag_queue){0}), -EINVAL);
	assert_int_equal(listen(fd, 7), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)name, len), 0);
	return fd;
}

static void check_unix_queue(int type)
{
	struct sockaddr_un name;
	socklen_t len;
	int fds[4], fd = unix_listening(type, &name, &len);

	for (unsigned i = 0; i < 3; i++) {
		assert_queue(fd, i, 7, false);
		fds[i] = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&name, len), 0);
	}
	assert_queue(fd, 3, 7, false);
	fds[3] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_queue(fd, 2, 7, false);
	assert_int_equal(diag_queue(fds[3], &(struct diag_queue){0}), -EINVAL);
	assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
	assert_queue(fd, 2, 7, true);
	close_all(fds, 4);
	close(fd);
}

static void test_unix_queue(void **state)
{
	(void)state;
	need_unix_diag();
	check_unix_queue(SOCK_STREAM);
	check_unix_queue(SOCK_SEQPACKET);
}

/* Another network namespace has other sockets: what the kernel answers then is an error that is told. */
static void test_unix_elsewhere(void **state)
{
	struct sockaddr_un name;
	socklen_t len;
	int status, fd;
	pid_t pid;

	(void)state;
	need_unix_diag();
	fd = unix_listening(SOCK_STREAM, &name, &len);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) < 0)
			_exit(77);
		_exit(diag_queue(fd, &(struct diag_queue){0}) == -ENOENT ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fd);
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: no right to a network namespace\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void test_no_queue(void **state)
{
	struct diag_queue q = {.waiting = 5, .backlog = 6, .is_shut = true};
	int fds[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC), raw;

	(void)state;
	assert_int_equal(diag_queue(-1, &q), -EBADF);
	assert_int_equal(diag_queue(null, &q), -ENOTSOCK);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(diag_queue(fds[0], &q), -EINVAL);
	raw = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (raw >= 0)
		assert_int_equal(diag_queue(raw, &q), -EOPNOTSUPP);
	assert_true(q.waiting == 5 && q.backlog == 6 && q.is_shut); /* untouched */
	close_all(fds, 2);
	close(raw);
	close(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_unix_queue),
	    cmocka_unit_test(test_unix_elsewhere),
	    cmocka_unit_test(test_no_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
