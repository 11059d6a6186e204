/* filter: the seccomp filter of a program whose bind(2) and listen(2) somebody else answers (seccomp_unotify(2)).
 * libseccomp makes it; what loads it is a direct call, for the sake of flags that libseccomp 2.5 does not know.
 *
 * Only calls of the native architecture are seen: 32-bit programs and x32 calls on x86-64 pass through (K70), and so
 * does what io_uring binds. */
#ifndef UMBEL_NET_FILTER_H
#define UMBEL_NET_FILTER_H

#include <stdbool.h>

struct sock_filter;

struct filter {
	struct sock_filter *program; /* NULL: none */
	unsigned short length;       /* instructions */
	bool is_interrupted; /* the kernel lets signals interrupt a call that is being answered: before 5.19 */
};

/* 0, or -errno: -ENOMEM, -EMFILE, -ENOSYS (libseccomp or the kernel could not). bind and listen:
 * SECCOMP_RET_USER_NOTIF; all else is allowed. */
int filter_build(struct filter *ret);
void filter_finish(struct filter *f);

/* In a child between fork and exec: system calls alone. From then on this process and all its children are filtered.
 * no_new_privs: set it first; without it only CAP_SYS_ADMIN may load a filter. Signals with handlers wait for the
 * answer where the kernel can (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 5.19), else they interrupt the call. The
 * notification descriptor (close-on-exec), or -errno: -EBUSY: another filter of this process has one, and there can
 * be only one (K51); -EACCES: no_new_privs is needed; -EINVAL, -ENOSYS: the kernel cannot; -EPERM: somebody forbids
 * it (containers). */
int filter_install(const struct filter *f, bool no_new_privs);

#endif
