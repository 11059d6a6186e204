/* trap: calls of another process that wait for our answer (seccomp_unotify(2)), and what the kernel lets us see
 * of that process. Only system calls and their rules: K46 to K58. Nothing here waits for anybody. */
#ifndef UMBEL_NET_TRAP_H
#define UMBEL_NET_TRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum trap_which { TRAP_BIND, TRAP_LISTEN };

struct trap_call {
	uint64_t id;
	pid_t thread; /* of any process that has the filter; as seen here, 0: it is of another pid namespace */
	enum trap_which which;
	int fd;           /* its descriptor */
	uint64_t address; /* bind: where the struct sockaddr is, in its memory */
	uint32_t length;  /* bind */
	int backlog;      /* listen */
};

/* The next call. 0; -EAGAIN: none; -ENOENT: it was there and is gone, ask again; -EPIPE: nobody has the filter any
 * more, and the descriptor polls POLLHUP for ever; -errno. It is polled first: RECV itself would wait. */
int trap_receive(int notify, struct trap_call *ret);

bool trap_is_valid(int notify, uint64_t id); /* the call still waits: so what was read by pid was of its thread */

/* Each ends the call; 0, or -ENOENT: it is gone (or was answered before), and there is nothing to do. */
int trap_answer(int notify, uint64_t id, int error); /* its result: 0 or -errno */
int trap_continue(int notify, uint64_t id);          /* the kernel executes it as it stands */

/* Puts a copy of fd at `at` in the process, in the place of what is there; the call still waits. 0 or -errno. */
int trap_replace(int notify, uint64_t id, int fd, int at, bool cloexec);

/* ---- the process; after each of these trap_is_valid() says whether it was the right one ---- */

struct trap_caller {
	pid_t thread, process;
	uid_t uid;     /* effective */
	/* It has CAP_NET_BIND_SERVICE in our user namespace: ports below ip_unprivileged_port_start. */
	bool may_bind_low;
};

int trap_caller(pid_t thread, struct trap_caller *ret); /* from /proc/TID/status; 0, -ESRCH or -errno */

/* The address that a bind names. 0, -EINVAL (length), -EFAULT, -EPERM (we may not look), -ESRCH. */
int trap_read_address(const struct trap_call *call, struct sockaddr_storage *ret, socklen_t *ret_length);

/* What its descriptor is when proc_copy_fd() may not: from the attribute system.sockprotoname of /proc/TID/fd/N. -ENOTSOCK: no
 * socket; -ENOENT: no such descriptor or thread; -EACCES: not dumpable. */
struct trap_socket {
	int family; /* AF_INET, AF_INET6, or AF_UNSPEC: something else */
	int type;   /* SOCK_STREAM, SOCK_DGRAM, or 0 */
	bool is_mptcp;
};
int trap_socket_by_name(pid_t thread, int fd, struct trap_socket *ret); /* 0 or -errno */

/* How the thread has that descriptor. */
struct trap_fd {
	bool cloexec, nonblocking;
	bool is_watched;  /* in one of its epoll sets: another socket in its place would never be looked at (K61) */
	unsigned copies;  /* descriptors of this thread that are the same socket, this one too */
};
/* From /proc/TID/fd and fdinfo; 0 or -errno: -ENOTSOCK, -EBADF. */
int trap_look_at_fd(pid_t thread, int fd, struct trap_fd *ret);

#endif
