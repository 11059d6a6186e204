/* Calls of another process that wait for an answer: a child loads the filter, binds and listens, and the parent
 * answers. What the kernel shows of a process, without a filter: test_trap_process. */
#include "net/trap.h"

#include "base/fd.h"
#include "base/proc.h"
#include "net/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEADLINE_MS = 20000, BACKLOG = 77 };

static struct filter filter;
static struct sockaddr_in any_port; /* of 127.0.0.1 */
static pid_t child = -1;
static int channel = -1; /* to it */
static int notify = -1;
static int more[2] = {-1, -1}; /* what a test has open besides */

/* ---- the child ---- */

/* In the child, where cmocka would jump into the parent's test. */
#define MUST(condition)                                                                                            \
	do {                                                                                                       \
		if (!(condition)) {                                                                                \
			dprintf(STDERR_FILENO, "the child, line %d: %s: %s\n", __LINE__, #condition,               \
				strerror(errno));                                                                  \
			_exit(1);                                                                                  \
		}                                                                                                  \
	} while (0)

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* fd, or why there is none. */
static void send_notify(int to, int fd)
{
	int err = fd < 0 ? fd : 0;
	struct iovec iov = {&err, sizeof(err)};
	union control control = {.align = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
	}
	MUST(sendmsg(to, &m, MSG_NOSIGNAL) == sizeof(err));
}

static int receive_notify(int from)
{
	union control control;
	int err = -EPIPE, fd = -1;
	struct iovec iov = {&err, sizeof(err)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};

	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) != sizeof(err))
		return -EPIPE;
	if (CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return err ? err : fd;
}

/* A child that does it and ends. */
static void start(void (*act)(int to_parent))
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	child = fork();
	if (child == 0) {
		MUST(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
		close(ends[0]);
		act(ends[1]);
		_exit(0);
	}
	close(ends[1]);
	channel = ends[0];
	assert_true(child > 0);
}

static void (*filtered_act)(void);

static void act_filtered(int to_parent)
{
	int fd = filter_install(&filter, true);

	send_notify(to_parent, fd);
	if (fd >= 0) {
		MUST(fcntl(fd, F_GETFD) == FD_CLOEXEC);
		close(fd);
		filtered_act();
	}
}

/* Its bind and listen wait for us. */
static void start_filtered(void (*act)(void))
{
	filtered_act = act;
	start(act_filtered);
	notify = receive_notify(channel);
	if (notify >= 0)
		return;
	print_message("skipped: no filter with a listener here: %s\n", strerror(-notify));
	skip();
}

/* That it found all as it should be. */
static void expect_end(void)
{
	int status = -1;

	assert_int_equal(waitpid(child, &status, 0), child);
	child = -1;
	assert_int_equal(status, 0);
}

static int set_up(void **state)
{
	int err = filter_build(&filter);

	any_port.sin_family = AF_INET;
	any_port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return err == -ENOSYS ? 0 : err; /* filter_install() will say so: no program */
}

static int tear_down(void **state)
{
	filter_finish(&filter);
	return 0;
}

/* A test that failed leaves its child waiting for us. */
static int clean_up(void **state)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	child = -1;
	fd_close(&channel);
	fd_close(&notify);
	for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
		fd_close(&more[i]);
	return 0;
}

/* ---- sockets ---- */

static int bind_any(int fd)
{
	return bind(fd, (const struct sockaddr *)&any_port, sizeof(any_port));
}

static int port_of(int fd)
{
	struct sockaddr_in name = {0};
	socklen_t length = sizeof(name);

	return getsockname(fd, (struct sockaddr *)&name, &length) < 0 ? -errno : ntohs(name.sin_port);
}

static bool listens(int fd)
{
	int is_listening = 0;
	socklen_t length = sizeof(is_listening);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &length) == 0 && is_listening;
}

static void next_call(enum trap_which which, struct trap_call *ret)
{
	struct pollfd poll_fd = {.fd = notify, .events = POLLIN};
	int err;

	do {
		assert_int_equal(poll(&poll_fd, 1, DEADLINE_MS), 1);
		err = trap_receive(notify, ret);
	} while (err == -EAGAIN || err == -ENOENT);
	assert_int_equal(err, 0);
	assert_int_equal(ret->which, which);
	assert_true(trap_is_valid(notify, ret->id));
}

/* ---- answers ---- */

static void bind_and_listen(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	MUST(bind_any(fd) < 0 && errno == EACCES);
	MUST(bind_any(fd) == 0 && port_of(fd) == 0); /* somebody said so, and did nothing */
	MUST(listen(fd, BACKLOG) == 0 && !listens(fd));
	MUST(listen(fd, BACKLOG) < 0 && errno == EADDRINUSE);
	MUST(bind_any(fd) == 0 && port_of(fd) > 0);
	MUST(listen(fd, BACKLOG) == 0 && listens(fd));
}

static void test_answers(void **state)
{
	static const struct {
		enum trap_which which;
		bool goes_on;
		int error;
	} steps[] = {
		{TRAP_BIND, false, -EACCES}, {TRAP_BIND, false, 0}, {TRAP_LISTEN, false, 0},
		{TRAP_LISTEN, false, -EADDRINUSE}, {TRAP_BIND, true, 0}, {TRAP_LISTEN, true, 0},
	};
	struct trap_call call;

	start_filtered(bind_and_listen);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		next_call(steps[i].which, &call);
		assert_int_equal(call.thread, child);
		if (call.which == TRAP_BIND)
			assert_int_equal(call.length, sizeof(any_port));
		else
			assert_int_equal(call.backlog, BACKLOG);
		assert_int_equal(trap_receive(notify, &call), -EAGAIN); /* no other */
		assert_int_equal(steps[i].goes_on ? trap_continue(notify, call.id)
						  : trap_answer(notify, call.id, steps[i].error), 0);
		assert_int_equal(trap_answer(notify, call.id, 0), -ENOENT); /* once */
	}
	expect_end();
}

static void *bind_in_thread(void *argument)
{
	MUST(bind_any(*(int *)argument) == 0);
	return NULL;
}

static void bind_of_a_thread(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	pthread_t thread;

	MUST(pthread_create(&thread, NULL, bind_in_thread, &fd) == 0);
	MUST(pthread_join(thread, NULL) == 0);
	MUST(port_of(fd) > 0); /* the parent has bound it */
	MUST(listen(fd, BACKLOG) == 0 && listens(fd));
}

/* As the primary does it: the program's own socket, bound by somebody else. */
static void test_adopts_socket_of_a_thread(void **state)
{
	struct sockaddr_storage address;
	struct trap_caller caller;
	struct trap_call call;
	struct trap_fd look;
	socklen_t length;

	start_filtered(bind_of_a_thread);
	next_call(TRAP_BIND, &call);
	assert_int_not_equal(call.thread, child);
	assert_int_equal(trap_caller(call.thread, &caller), 0);
	assert_int_equal(caller.process, child);
	assert_int_equal(caller.uid, geteuid());
	assert_int_equal(trap_read_address(&call, &address, &length), 0);
	assert_int_equal(length, sizeof(any_port));
	assert_memory_equal(&address, &any_port, sizeof(any_port));
	assert_int_equal(trap_look_at_fd(caller.process, call.fd, &look), 0);
	assert_true(look.cloexec && look.nonblocking && !look.is_watched && look.copies == 1);

	assert_true((more[0] = proc_copy_fd(call.thread, caller.process, call.fd)) >= 0);
	assert_int_equal(fcntl(more[0], F_GETFD), FD_CLOEXEC);
	assert_true(trap_is_valid(notify, call.id));
	assert_int_equal(bind_any(more[0]), 0);
	assert_int_equal(trap_answer(notify, call.id, 0), 0);
	next_call(TRAP_LISTEN, &call);
	assert_int_equal(call.thread, child);
	assert_int_equal(listen(more[0], BACKLOG), 0);
	assert_int_equal(trap_answer(notify, call.id, 0), 0);
	expect_end();
}

static void listen_on_replaced(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	MUST(bind_any(fd) == 0);
	MUST(listen(fd, BACKLOG) == 0);
	MUST(fcntl(fd, F_GETFD) == FD_CLOEXEC && listens(fd) && port_of(fd) > 0);
	MUST(listen(fd, BACKLOG) == 0);
	MUST(fcntl(fd, F_GETFD) == 0 && !listens(fd) && port_of(fd) == 0);
}

static void test_replaces_socket(void **state)
{
	struct trap_call call;

	more[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	more[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind_any(more[0]), 0);
	assert_int_equal(listen(more[0], BACKLOG), 0);

	start_filtered(listen_on_replaced);
	next_call(TRAP_BIND, &call);
	assert_int_equal(trap_answer(notify, call.id, 0), 0);
	for (int i = 0; i < 2; i++) {
		next_call(TRAP_LISTEN, &call);
		assert_int_equal(trap_replace(notify, call.id, -1, call.fd, false), -EBADF);
		assert_int_equal(trap_replace(notify, call.id, more[i], call.fd, i == 0), 0);
		assert_true(trap_is_valid(notify, call.id));
		assert_int_equal(trap_answer(notify, call.id, 0), 0);
	}
	expect_end();
}

/* ---- calls that end without us ---- */

static void bind_once(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	MUST(bind_any(fd) == 0);
}

static void kill_child(void)
{
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	child = -1;
}

static void test_killed_in_the_call(void **state)
{
	struct trap_call call;

	more[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	start_filtered(bind_once);
	next_call(TRAP_BIND, &call);
	kill_child();
	assert_false(trap_is_valid(notify, call.id));
	assert_int_equal(trap_answer(notify, call.id, 0), -ENOENT);
	assert_int_equal(trap_continue(notify, call.id), -ENOENT);
	assert_int_equal(trap_replace(notify, call.id, more[0], call.fd, true), -ENOENT);
	assert_int_equal(trap_receive(notify, &call), -EPIPE);
}

static void test_killed_before_it_is_received(void **state)
{
	struct pollfd poll_fd = {.events = POLLIN};
	struct trap_call call = {.fd = -1};

	start_filtered(bind_once);
	poll_fd.fd = notify;
	assert_int_equal(poll(&poll_fd, 1, DEADLINE_MS), 1);
	assert_int_equal(poll_fd.revents, POLLIN);
	kill_child();
	assert_int_equal(trap_receive(notify, &call), -EPIPE);
	assert_int_equal(call.fd, -1);
}

static int handled[2]; /* a pipe: a byte when the handler runs */

static void tell(int number)
{
	MUST(write(handled[1], "", 1) == 1);
}

static void bind_with_handler(void)
{
	struct sigaction action = {.sa_handler = tell}; /* no SA_RESTART: it would be EINTR */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	MUST(sigaction(SIGUSR1, &action, NULL) == 0);
	MUST(bind_any(fd) == 0);
}

static void test_handlers_wait(void **state)
{
	struct pollfd poll_fd = {.events = POLLIN};
	struct trap_call call;
	struct utsname name;
	int major = 0, minor = 0;

	assert_int_equal(uname(&name), 0);
	assert_int_equal(sscanf(name.release, "%d.%d", &major, &minor), 2);
	if (major < 5 || (major == 5 && minor < 19)) {
		print_message("skipped: Linux %d.%d interrupts the call\n", major, minor);
		skip();
	}
	assert_int_equal(pipe2(handled, O_CLOEXEC), 0);
	more[0] = poll_fd.fd = handled[0];
	more[1] = handled[1];
	start_filtered(bind_with_handler);
	next_call(TRAP_BIND, &call);
	assert_int_equal(kill(child, SIGUSR1), 0);
	assert_int_equal(poll(&poll_fd, 1, 100), 0); /* would be at once */
	assert_true(trap_is_valid(notify, call.id));
	assert_int_equal(trap_answer(notify, call.id, 0), 0);
	assert_int_equal(poll(&poll_fd, 1, DEADLINE_MS), 1);
	expect_end();
}

/* ---- loading ---- */

static void act_install_twice(int to_parent)
{
	int fd = filter_install(&filter, true);

	if (fd >= 0)
		MUST(filter_install(&filter, true) == -EBUSY);
	send_notify(to_parent, fd);
}

static void test_one_listener_only(void **state)
{
	start(act_install_twice);
	notify = receive_notify(channel);
	if (notify == -ENOSYS || notify == -EINVAL || notify == -EPERM) {
		print_message("skipped: no filter with a listener here: %s\n", strerror(-notify));
		skip();
	}
	assert_true(notify >= 0);
	expect_end();
}

static void act_without_rights(int to_parent)
{
	uid_t nobody = 65534;
	int err;

	MUST(geteuid() != 0 || setresuid(nobody, nobody, nobody) == 0);
	err = filter_install(&filter, false);
	MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
	send_notify(to_parent, err);
	if (err == -EACCES)
		send_notify(to_parent, filter_install(&filter, true));
}

static void test_needs_no_new_privs(void **state)
{
	int err;

	start(act_without_rights);
	err = receive_notify(channel);
	if (err == -ENOSYS || err == -EINVAL || err == -EPERM) {
		print_message("skipped: no filter with a listener here: %s\n", strerror(-err));
		skip();
	}
	assert_int_equal(err, -EACCES);
	notify = receive_notify(channel);
	assert_true(notify >= 0);
	expect_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_answers, clean_up),
		cmocka_unit_test_teardown(test_adopts_socket_of_a_thread, clean_up),
		cmocka_unit_test_teardown(test_replaces_socket, clean_up),
		cmocka_unit_test_teardown(test_killed_in_the_call, clean_up),
		cmocka_unit_test_teardown(test_killed_before_it_is_received, clean_up),
		cmocka_unit_test_teardown(test_handlers_wait, clean_up),
		cmocka_unit_test_teardown(test_one_listener_only, clean_up),
		cmocka_unit_test_teardown(test_needs_no_new_privs, clean_up),
	};

	return cmocka_run_group_tests_name("trap", tests, set_up, tear_down);
}
