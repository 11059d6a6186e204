#include "wire/lane.h"

#include "base/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

union lane_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(LANE_BATCH * sizeof(int))];
};

int lane_open(int *ret_primary_end, int *ret_worker_end)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return -errno;
	*ret_primary_end = ends[0];
	*ret_worker_end = ends[1];
	return 0;
}

int lane_send(int primary_end, const struct lane_batch *batch)
{
	union lane_control control = {.bytes = {0}}; /* its padding is read too */
	struct iovec iov = {(void *)batch->listeners, batch->count};
	struct msghdr m = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = CMSG_SPACE(batch->count * sizeof(int)),
	};

	control.align =
	    (struct cmsghdr){CMSG_LEN(batch->count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.align), batch->fds, batch->count * sizeof(int));
	while (sendmsg(primary_end, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (errno == ETOOMANYREFS || errno == ENOBUFS)
			return -EAGAIN; /* passes as workers read (unix(7)) */
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int lane_receive(int worker_end, struct lane_batch *ret)
{
	union lane_control control;
	struct iovec iov = {ret->listeners, sizeof(ret->listeners)};
	struct msghdr m = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *h;
	ssize_t n;

	do
		n = recvmsg(worker_end, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	ret->count = ret->lost = 0;
	if (n == 0)
		return 0;
	h = CMSG_FIRSTHDR(&m);
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
		ret->count = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(ret->fds, CMSG_DATA(h), ret->count * sizeof(int));
	}
	ret->lost = ret->count < (unsigned)n ? (unsigned)n - ret->count : 0;
	return ret->lost ? -EMFILE : 1;
}

unsigned lane_waiting(int worker_end)
{
	int bytes = 0;

	return ioctl(worker_end, FIONREAD, &bytes) < 0 ? 0 : (unsigned)bytes;
}
