#include "net/trap.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

/* A newer kernel may write and read more than the headers knew: that must be there, and be zero. */
union notif {
	struct seccomp_notif call;
	struct seccomp_notif_resp answer;
	char room[512];
};

static int check_sizes(void)
{
	static int known = -EAGAIN; /* the kernel does not change */
	struct seccomp_notif_sizes sizes;
	bool fits;

	if (known != -EAGAIN)
		return known;
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		return -errno;
	fits = sizes.seccomp_notif <= sizeof(union notif) && sizes.seccomp_notif_resp <= sizeof(union notif);
	known = fits ? 0 : -E2BIG;
	return known;
}

/* What the notification descriptor waits for is a lock, or the other thread's next step: a signal of ours may come
 * between, and then nothing was done. A call that was answered is EINPROGRESS until its thread has run, then gone. */
static int control(int notify, unsigned long request, void *argument)
{
	int result;

	do
		result = ioctl(notify, request, argument);
	while (result < 0 && errno == EINTR);
	if (result < 0)
		return errno == EINPROGRESS ? -ENOENT : -errno;
	return result;
}

/* ---- the call ---- */

static void decode(const struct seccomp_notif *n, struct trap_call *ret)
{
	*ret = (struct trap_call){
		.id = n->id,
		.thread = (pid_t)n->pid,
		.which = n->data.nr == SYS_bind ? TRAP_BIND : TRAP_LISTEN,
		.fd = (int)n->data.args[0], /* the kernel takes an int, whatever stands above */
	};
	if (ret->which == TRAP_BIND) {
		ret->address = n->data.args[1];
		ret->length = (uint32_t)n->data.args[2];
	} else {
		ret->backlog = (int)n->data.args[1];
	}
}

int trap_receive(int notify, struct trap_call *ret)
{
	struct pollfd poll_fd = {.fd = notify, .events = POLLIN};
	union notif n;
	int err = check_sizes();

	if (err)
		return err;
	if (poll(&poll_fd, 1, 0) < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (poll_fd.revents & POLLNVAL)
		return -EBADF;
	if (!(poll_fd.revents & POLLIN))
		return poll_fd.revents & POLLHUP ? -EPIPE : -EAGAIN;
	memset(&n, 0, sizeof(n));
	err = control(notify, SECCOMP_IOCTL_NOTIF_RECV, &n);
	if (err)
		return err;
	if (n.call.data.nr != SYS_bind && n.call.data.nr != SYS_listen) { /* of a filter that is not ours */
		trap_continue(notify, n.call.id);
		return -ENOENT;
	}
	decode(&n.call, ret);
	return 0;
}

bool trap_is_valid(int notify, uint64_t id)
{
	__u64 argument = id;

	return control(notify, SECCOMP_IOCTL_NOTIF_ID_VALID, &argument) == 0;
}

static int finish(int notify, uint64_t id, int error, uint32_t flags)
{
	union notif n;

	memset(&n, 0, sizeof(n));
	n.answer.id = id;
	n.answer.error = error;
	n.answer.flags = flags;
	return control(notify, SECCOMP_IOCTL_NOTIF_SEND, &n);
}

int trap_answer(int notify, uint64_t id, int error)
{
	return finish(notify, id, error, 0);
}

int trap_continue(int notify, uint64_t id)
{
	return finish(notify, id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

int trap_replace(int notify, uint64_t id, int fd, int at, bool cloexec)
{
	struct seccomp_notif_addfd add = {
		.id = id,
		.flags = SECCOMP_ADDFD_FLAG_SETFD,
		.srcfd = (__u32)fd,
		.newfd = (__u32)at,
		.newfd_flags = cloexec ? O_CLOEXEC : 0,
	};
	int result = control(notify, SECCOMP_IOCTL_NOTIF_ADDFD, &add); /* the number that it has */

	return result < 0 ? result : 0;
}

/* ---- the process ---- */

/* Capabilities count in their user namespace: those of another one say nothing about ports of ours. */
static bool is_of_our_users(pid_t thread)
{
	struct stat ours, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)thread);
	return stat("/proc/self/ns/user", &ours) == 0 && stat(path, &theirs) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

int trap_caller(pid_t thread, struct trap_caller *ret)
{
	struct trap_caller caller = {.thread = thread};
	char path[64], line[256];
	uint64_t effective = 0;
	unsigned found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	while (fgets(line, sizeof(line), f)) {
		found += sscanf(line, "Tgid: %d", &caller.process) == 1;
		found += sscanf(line, "Uid: %*u %u", &caller.uid) == 1;
		found += sscanf(line, "CapEff: %" SCNx64, &effective) == 1;
	}
	fclose(f);
	if (found != 3) /* it ended while we read */
		return -ESRCH;
	caller.may_bind_low = (effective >> CAP_NET_BIND_SERVICE & 1) && is_of_our_users(thread);
	*ret = caller;
	return 0;
}

int trap_read_address(const struct trap_call *call, struct sockaddr_storage *ret, socklen_t *ret_length)
{
	struct sockaddr_storage address;
	struct iovec here = {&address, call->length};
	struct iovec there = {(void *)(uintptr_t)call->address, call->length};
	ssize_t got;

	if (call->length < sizeof(address.ss_family) || call->length > sizeof(address))
		return -EINVAL;
	memset(&address, 0, sizeof(address));
	got = process_vm_readv(call->thread, &here, 1, &there, 1, 0);
	if (got < 0)
		return -errno;
	if ((size_t)got != call->length) /* its end is not mapped */
		return -EFAULT;
	*ret = address;
	*ret_length = call->length;
	return 0;
}

int trap_socket_by_name(pid_t thread, int fd, struct trap_socket *ret)
{
	static const struct {
		const char *name;
		struct trap_socket is;
	} known[] = {
		{"TCP", {AF_INET, SOCK_STREAM, false}},   {"TCPv6", {AF_INET6, SOCK_STREAM, false}},
		{"UDP", {AF_INET, SOCK_DGRAM, false}},    {"UDPv6", {AF_INET6, SOCK_DGRAM, false}},
		{"MPTCP", {AF_INET, SOCK_STREAM, true}},  {"MPTCPv6", {AF_INET6, SOCK_STREAM, true}},
	};
	char path[64], name[64] = "";
	struct trap_socket is = {.family = AF_UNSPEC};

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)thread, fd);
	if (getxattr(path, "system.sockprotoname", name, sizeof(name) - 1) < 0)
		return errno == ENODATA || errno == ENOTSUP ? -ENOTSOCK : -errno;
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(name, known[i].name) == 0)
			is = known[i].is;
	*ret = is;
	return 0;
}

/* ---- its descriptor ---- */

static FILE *open_info(pid_t thread, int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)thread, fd);
	return fopen(path, "re");
}

static int read_flags(pid_t thread, int fd, struct trap_fd *look)
{
	FILE *f = open_info(thread, fd);
	char line[256];
	unsigned flags;
	int err = -ESRCH;

	if (!f)
		return -errno;
	while (err && fgets(line, sizeof(line), f))
		if (sscanf(line, "flags: %o", &flags) == 1)
			err = 0;
	fclose(f);
	if (err)
		return err;
	look->cloexec = flags & O_CLOEXEC;
	look->nonblocking = flags & O_NONBLOCK;
	return 0;
}

/* By inode and not by number: what was dup'ed may be in it by the other number. */
static bool is_watched_by(pid_t thread, int epoll, const struct stat *socket)
{
	FILE *f = open_info(thread, epoll);
	bool is_watched = false;
	unsigned long inode;
	unsigned device; /* as the kernel has it inside: 20 bits of minor */
	char line[256];

	while (f && !is_watched && fgets(line, sizeof(line), f))
		is_watched = sscanf(line, "tfd: %*d events: %*x data: %*x pos:%*d ino:%lx sdev:%x",
				    &inode, &device) == 2 &&
			     inode == socket->st_ino &&
			     makedev(device >> 20, device & 0xfffff) == socket->st_dev;
	if (f)
		fclose(f);
	return is_watched;
}

static ssize_t read_link(int dir, const char *name, char *ret, size_t size)
{
	ssize_t length = readlinkat(dir, name, ret, size - 1);

	ret[length > 0 ? length : 0] = '\0';
	return length;
}

/* The links, and no stat(2) of each: a file of a network that is away would hold us up. */
static void look_at_others(pid_t thread, DIR *fds, const char *link, const struct stat *socket,
			   struct trap_fd *look)
{
	struct dirent *entry;
	char other[64];

	while ((entry = readdir(fds))) {
		if (read_link(dirfd(fds), entry->d_name, other, sizeof(other)) <= 0)
			continue;
		if (strcmp(other, link) == 0)
			look->copies++;
		else if (!look->is_watched && strcmp(other, "anon_inode:[eventpoll]") == 0)
			look->is_watched = is_watched_by(thread, atoi(entry->d_name), socket);
	}
}

int trap_look_at_fd(pid_t thread, int fd, struct trap_fd *ret)
{
	struct trap_fd look = {0};
	char path[64], name[16], link[64];
	struct stat socket;
	int err;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)thread);
	snprintf(name, sizeof(name), "%d", fd);
	fds = opendir(path);
	if (!fds)
		return errno == ENOENT ? -ESRCH : -errno;
	err = read_link(dirfd(fds), name, link, sizeof(link)) < 0 ? -errno : 0;
	if (err == -ENOENT)
		err = -EBADF;
	if (!err && strncmp(link, "socket:[", 8) != 0)
		err = -ENOTSOCK;
	if (!err && fstatat(dirfd(fds), name, &socket, 0) < 0)
		err = -errno;
	if (!err)
		err = read_flags(thread, fd, &look);
	if (!err) {
		look_at_others(thread, fds, link, &socket, &look);
		*ret = look;
	}
	closedir(fds);
	return err;
}
