/* What the kernel shows of a process whose call waits: asked of this process, and of children without a filter.
 * The calls themselves: test_trap. */
#include "net/trap.h"

#include "base/fd.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

enum { CLOSED = 1000 }; /* a number that nothing has */

static pid_t child = -1;
static int fds[6] = {-1, -1, -1, -1, -1, -1};

static int clean_up(void **state)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	child = -1;
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
		fd_close(&fds[i]);
	return 0;
}

static void skip_because(const char *what, int err)
{
	print_message("skipped: %s: %s\n", what, strerror(err));
	skip();
}

/* A process that was. */
static pid_t gone(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return pid;
}

/* Waits until it is killed; what it did before is over when this returns. Its status, if it could not: errno. */
static void start(int (*act)(void))
{
	int ready[2], err = -1;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		err = act() < 0 ? errno : 0;
		if (write(ready[1], &err, sizeof(err)) == sizeof(err))
			for (;;)
				pause();
		_exit(1);
	}
	close(ready[1]);
	fds[0] = ready[0];
	assert_true(child > 0);
	assert_int_equal(read(ready[0], &err, sizeof(err)), sizeof(err));
	if (err)
		skip_because("the child could not", err);
}

/* ---- who calls ---- */

static bool has_low_ports(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[2];

	assert_int_equal(syscall(SYS_capget, &header, sets), 0);
	return sets[0].effective >> CAP_NET_BIND_SERVICE & 1;
}

static void test_caller(void **state)
{
	struct trap_caller caller = {0};

	assert_int_equal(trap_caller(getpid(), &caller), 0);
	assert_int_equal(caller.process, getpid());
	assert_int_equal(caller.uid, geteuid());
	assert_int_equal(caller.may_bind_low, has_low_ports());
}

static int become_nobody(void)
{
	return setresuid(-1, 65534, -1);
}

static void test_caller_who_gave_up_rights(void **state)
{
	struct trap_caller caller = {0};

	start(become_nobody);
	assert_int_equal(trap_caller(child, &caller), 0);
	assert_int_equal(caller.process, child);
	assert_int_equal(caller.uid, 65534);
	assert_false(caller.may_bind_low);
}

static int unshare_users(void)
{
	return unshare(CLONE_NEWUSER);
}

/* It has all capabilities, over nothing of ours. */
static void test_caller_of_other_users(void **state)
{
	struct trap_caller caller = {.may_bind_low = true};

	start(unshare_users);
	assert_int_equal(trap_caller(child, &caller), 0);
	assert_int_equal(caller.process, child);
	assert_false(caller.may_bind_low);
}

static void test_nobody_calls(void **state)
{
	struct trap_caller caller = {.process = 7};

	assert_int_equal(trap_caller(gone(), &caller), -ESRCH);
	assert_int_equal(trap_caller(0, &caller), -ESRCH); /* of another pid namespace */
	assert_int_equal(caller.process, 7);
}

/* ---- the address ---- */

static int read_address(const void *at, size_t length, struct sockaddr_storage *ret, socklen_t *ret_length)
{
	const struct trap_call call = {.thread = getpid(), .which = TRAP_BIND, .address = (uintptr_t)at,
				       .length = (uint32_t)length};

	return trap_read_address(&call, ret, ret_length);
}

static void test_address(void **state)
{
	const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = 80, .sin6_scope_id = 3};
	struct sockaddr_storage all, got;
	const struct sockaddr_storage zero = {0};
	socklen_t length = 0;

	memset(&all, 'x', sizeof(all));
	memset(&got, 'y', sizeof(got));
	assert_int_equal(read_address(&v6, sizeof(v6), &got, &length), 0);
	assert_int_equal(length, sizeof(v6));
	assert_memory_equal(&got, &v6, sizeof(v6));
	assert_memory_equal((char *)&got + sizeof(v6), &zero, sizeof(zero) - sizeof(v6));
	assert_int_equal(read_address(&all, sizeof(all), &got, &length), 0);
	assert_int_equal(length, sizeof(all));
	assert_memory_equal(&got, &all, sizeof(all));
}

static void test_address_is_none(void **state)
{
	struct trap_call call = {.which = TRAP_BIND, .length = 16};
	struct sockaddr_storage got = {.ss_family = 99}, some = {.ss_family = AF_INET};
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	socklen_t length = 99;
	char *pages;

	assert_int_equal(read_address(&some, 0, &got, &length), -EINVAL);
	assert_int_equal(read_address(&some, 1, &got, &length), -EINVAL);
	assert_int_equal(read_address(&some, sizeof(some) + 1, &got, &length), -EINVAL);
	assert_int_equal(read_address(&some, UINT32_MAX, &got, &length), -EINVAL);
	assert_int_equal(read_address(NULL, 16, &got, &length), -EFAULT);

	/* Its end is in a page that is not there. */
	pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(munmap(pages + page, page), 0);
	assert_int_equal(read_address(pages + page - 16, 16, &got, &length), 0);
	got.ss_family = 99;
	length = 99;
	assert_int_equal(read_address(pages + page - 8, 16, &got, &length), -EFAULT);
	assert_int_equal(munmap(pages, page), 0);

	call.thread = gone();
	assert_int_equal(trap_read_address(&call, &got, &length), -ESRCH);
	assert_int_equal(got.ss_family, 99);
	assert_int_equal(length, 99);
}

/* ---- its descriptors ---- */

static void test_copy(void **state)
{
	struct stat one, second;
	pid_t dead = gone();

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[1] = proc_copy_fd(getpid(), getpid(), fds[0]);
	if (fds[1] == -ENOSYS || fds[1] == -EPERM) {
		int err = -fd_steal(&fds[1]);

		skip_because("pidfd_getfd", err);
	}
	assert_true(fds[1] >= 0 && fds[1] != fds[0]);
	assert_int_equal(fcntl(fds[1], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fds[0], &one), 0);
	assert_int_equal(fstat(fds[1], &second), 0);
	assert_int_equal(one.st_ino, second.st_ino);
	assert_int_equal(proc_copy_fd(getpid(), getpid(), CLOSED), -EBADF);
	assert_int_equal(proc_copy_fd(dead, dead, fds[0]), -ESRCH);
}

/* ---- a thread with descriptors of its own ---- */

static struct {
	pthread_t thread;
	pid_t id;
	int fd;          /* its own socket by that number; -1: it shares the table */
	sem_t is, may_end;
} other;

static void *have_own(void *data)
{
	int fd = other.fd >= 0 && unshare(CLONE_FILES) == 0 ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

	if (fd >= 0) {
		dup2(fd, other.fd); /* not closed on exec */
		close(fd);
	}
	other.id = gettid();
	sem_post(&other.is);
	sem_wait(&other.may_end);
	return data;
}

static void begin_other(int fd)
{
	other.fd = fd;
	sem_init(&other.is, 0, 0);
	sem_init(&other.may_end, 0, 0);
	assert_int_equal(pthread_create(&other.thread, NULL, have_own, NULL), 0);
	sem_wait(&other.is);
}

static void end_other(void)
{
	sem_post(&other.may_end);
	pthread_join(other.thread, NULL);
	sem_destroy(&other.is);
	sem_destroy(&other.may_end);
}

static int type_of(int fd)
{
	int type = -1;
	socklen_t length = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ? -errno : type;
}

static void test_thread_with_own_descriptors(void **state)
{
	struct trap_socket named = {0};
	struct trap_fd its = {0};

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[1] = dup(fds[0]);
	begin_other(fds[0]);
	assert_int_equal(trap_socket_by_name(other.id, fds[0], &named), 0);
	assert_int_equal(named.type, SOCK_DGRAM);
	assert_int_equal(trap_look_at_fd(other.id, fds[0], &its), 0);
	assert_true(!its.cloexec && its.copies == 1);
	fds[2] = proc_copy_fd(other.id, getpid(), fds[0]);
	end_other();
	if (fds[2] == -ENOSYS)
		skip_because("pidfd_getfd", ENOSYS); /* under valgrind */
	if (fds[2] >= 0)
		assert_int_equal(type_of(fds[2]), SOCK_DGRAM);
	else
		assert_int_equal(fds[2], -EPERM); /* Linux 6.8 */
}

/* As a kernel that can be asked for processes only. */
static int forbid_threads(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof(code) / sizeof(*code), code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -1 : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int copy_on_old_kernel(void)
{
	int copy, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (forbid_threads() < 0)
		return -1;
	begin_other(-1);
	copy = proc_copy_fd(other.id, getpid(), fd);
	if (copy == -ENOSYS || copy == -EPERM)
		copy = proc_copy_fd(getpid(), getpid(), fd) < 0 ? dup(fd) : copy; /* it is forbidden here anyway */
	errno = ESTALE;
	if (copy < 0 || type_of(copy) != SOCK_STREAM)
		return -1;
	end_other();

	begin_other(fd);
	errno = ESTALE;
	if (proc_copy_fd(other.id, getpid(), fd) != -EPERM || proc_copy_fd(getpid(), getpid(), CLOSED) != -EBADF)
		return -1;
	end_other();
	return 0;
}

/* A socket of another thread's table is nothing that this thread binds. */
static void test_thread_of_an_old_kernel(void **state)
{
	int status = -1;

	child = fork();
	if (child == 0)
		_exit(copy_on_old_kernel() < 0 ? errno : 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	child = -1;
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != ESTALE && WEXITSTATUS(status) != 0)
		skip_because("a filter, or threads", WEXITSTATUS(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void expect_name(int family, int type, int protocol, struct trap_socket is)
{
	struct trap_socket got = {.family = 99};

	fd_close(&fds[0]);
	fds[0] = socket(family, type | SOCK_CLOEXEC, protocol);
	if (fds[0] < 0)
		skip_because("no such socket here", errno);
	assert_int_equal(trap_socket_by_name(getpid(), fds[0], &got), 0);
	assert_int_equal(got.family, is.family);
	assert_int_equal(got.type, is.type);
	assert_int_equal(got.is_mptcp, is.is_mptcp);
}

static void test_name(void **state)
{
	expect_name(AF_INET, SOCK_STREAM, 0, (struct trap_socket){AF_INET, SOCK_STREAM, false});
	expect_name(AF_INET, SOCK_DGRAM, 0, (struct trap_socket){AF_INET, SOCK_DGRAM, false});
	expect_name(AF_UNIX, SOCK_STREAM, 0, (struct trap_socket){AF_UNSPEC, 0, false});
	expect_name(AF_UNIX, SOCK_DGRAM, 0, (struct trap_socket){AF_UNSPEC, 0, false});
	expect_name(AF_NETLINK, SOCK_RAW, 0, (struct trap_socket){AF_UNSPEC, 0, false});
}

static void test_name_v6(void **state)
{
	expect_name(AF_INET6, SOCK_STREAM, 0, (struct trap_socket){AF_INET6, SOCK_STREAM, false});
	expect_name(AF_INET6, SOCK_DGRAM, 0, (struct trap_socket){AF_INET6, SOCK_DGRAM, false});
}

static void test_name_mptcp(void **state)
{
	expect_name(AF_INET, SOCK_STREAM, IPPROTO_MPTCP, (struct trap_socket){AF_INET, SOCK_STREAM, true});
	expect_name(AF_INET6, SOCK_STREAM, IPPROTO_MPTCP, (struct trap_socket){AF_INET6, SOCK_STREAM, true});
}

static void test_name_of_no_socket(void **state)
{
	struct trap_socket got = {.family = 99};

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fds[2] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	fds[3] = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	fds[4] = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i <= 4; i++)
		assert_int_equal(trap_socket_by_name(getpid(), fds[i], &got), -ENOTSOCK);
	assert_int_equal(trap_socket_by_name(getpid(), CLOSED, &got), -ENOENT);
	assert_int_equal(trap_socket_by_name(gone(), fds[0], &got), -ENOENT);
	assert_int_equal(got.family, 99);
}

static struct trap_fd look(int fd)
{
	struct trap_fd got = {0};

	assert_int_equal(trap_look_at_fd(getpid(), fd, &got), 0);
	return got;
}

static void test_flags(void **state)
{
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[2] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(!look(fds[0]).cloexec && !look(fds[0]).nonblocking);
	assert_true(look(fds[1]).cloexec && !look(fds[1]).nonblocking);
	assert_true(!look(fds[2]).cloexec && look(fds[2]).nonblocking);
}

static void test_copies(void **state)
{
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(look(fds[0]).copies, 1);
	fds[2] = dup(fds[0]);
	fds[3] = fcntl(fds[0], F_DUPFD_CLOEXEC, 100);
	assert_int_equal(look(fds[0]).copies, 3);
	assert_int_equal(look(fds[2]).copies, 3);
	assert_true(!look(fds[2]).cloexec && look(fds[3]).cloexec);
	assert_int_equal(look(fds[1]).copies, 1);
}

static void test_watched(void **state)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = UINT64_MAX};

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[2] = epoll_create1(EPOLL_CLOEXEC);
	fds[3] = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(epoll_ctl(fds[3], EPOLL_CTL_ADD, fds[1], &event), 0);
	assert_false(look(fds[0]).is_watched); /* another socket is */
	fds[4] = dup(fds[0]);
	assert_int_equal(epoll_ctl(fds[3], EPOLL_CTL_ADD, fds[4], &event), 0);
	assert_true(look(fds[0]).is_watched); /* by its other number */
	assert_int_equal(epoll_ctl(fds[3], EPOLL_CTL_DEL, fds[4], NULL), 0);
	assert_false(look(fds[0]).is_watched);
	assert_true(look(fds[1]).is_watched);
	event.events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE;
	assert_int_equal(epoll_ctl(fds[2], EPOLL_CTL_ADD, fds[0], &event), 0);
	assert_true(look(fds[0]).is_watched);
}

static void test_look_at_none(void **state)
{
	struct trap_fd got = {.copies = 99};

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(trap_look_at_fd(getpid(), fds[0], &got), -ENOTSOCK);
	assert_int_equal(trap_look_at_fd(getpid(), CLOSED, &got), -EBADF);
	assert_int_equal(trap_look_at_fd(gone(), fds[0], &got), -ESRCH);
	assert_int_equal(got.copies, 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_caller, clean_up),
		cmocka_unit_test_teardown(test_caller_who_gave_up_rights, clean_up),
		cmocka_unit_test_teardown(test_caller_of_other_users, clean_up),
		cmocka_unit_test_teardown(test_nobody_calls, clean_up),
		cmocka_unit_test_teardown(test_address, clean_up),
		cmocka_unit_test_teardown(test_address_is_none, clean_up),
		cmocka_unit_test_teardown(test_copy, clean_up),
		cmocka_unit_test_teardown(test_thread_with_own_descriptors, clean_up),
		cmocka_unit_test_teardown(test_thread_of_an_old_kernel, clean_up),
		cmocka_unit_test_teardown(test_name, clean_up),
		cmocka_unit_test_teardown(test_name_v6, clean_up),
		cmocka_unit_test_teardown(test_name_mptcp, clean_up),
		cmocka_unit_test_teardown(test_name_of_no_socket, clean_up),
		cmocka_unit_test_teardown(test_flags, clean_up),
		cmocka_unit_test_teardown(test_copies, clean_up),
		cmocka_unit_test_teardown(test_watched, clean_up),
		cmocka_unit_test_teardown(test_look_at_none, clean_up),
	};

	return cmocka_run_group_tests_name("trap_process", tests, NULL, NULL);
}
