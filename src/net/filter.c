#include "net/filter.h"

#include "base/fd.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) /* linux/seccomp.h of 5.19 */
#endif

/* libseccomp checks the architecture by itself, and x32 on x86-64 with it: both are its "bad arch". */
static int add_rules(scmp_filter_ctx ctx)
{
	static const int calls[] = {SCMP_SYS(bind), SCMP_SYS(listen)};
	int err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);

	/* Exact: else it would find socketcall(2) where there is one, and nobody reads its arguments. */
	for (size_t i = 0; !err && i < sizeof(calls) / sizeof(*calls); i++)
		err = seccomp_rule_add_exact(ctx, SCMP_ACT_NOTIFY, calls[i], 0);
	return err == 0 || err == -ENOMEM ? err : -ENOSYS;
}

/* libseccomp 2.5 exports to a descriptor only. */
static int read_back(int fd, struct filter *ret)
{
	off_t size = lseek(fd, 0, SEEK_END);
	struct sock_filter *program;

	if (size < 0)
		return -errno;
	if (size == 0 || (size_t)size > BPF_MAXINSNS * sizeof(*program) || (size_t)size % sizeof(*program) != 0)
		return -ENOSYS;
	program = malloc((size_t)size);
	if (!program)
		return -ENOMEM;
	if (pread(fd, program, (size_t)size, 0) != size) {
		free(program);
		return -EIO;
	}
	*ret = (struct filter){.program = program, .length = (unsigned short)((size_t)size / sizeof(*program))};
	return 0;
}

/* Whether it is forbidden. What the kernel cannot do libseccomp finds out too, but it says the same of both. */
static int is_allowed(void)
{
	const uint32_t action = SECCOMP_RET_USER_NOTIF;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 && errno == EPERM ? -EPERM : 0;
}

enum { WAITS = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV };

static long load(const struct sock_fprog *program, unsigned long flags)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
}

int filter_build(struct filter *ret)
{
	scmp_filter_ctx ctx;
	int fd = -1, err = is_allowed();

	if (err)
		return err;
	ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (!ctx)
		return -ENOSYS;
	err = add_rules(ctx);
	if (err)
		goto release;
	fd = memfd_create("umbel filter", MFD_CLOEXEC);
	if (fd < 0) {
		err = -errno;
		goto release;
	}
	err = seccomp_export_bpf(ctx, fd) < 0 ? -ENOSYS : read_back(fd, ret);
	if (!err) /* flags that it knows it does not complain of first: there is no program */
		ret->is_interrupted = load(NULL, WAITS) < 0 && errno == EINVAL;
	fd_close(&fd);
release:
	seccomp_release(ctx);
	return err;
}

void filter_finish(struct filter *f)
{
	free(f->program);
	*f = (struct filter){0};
}

int filter_install(const struct filter *f, bool no_new_privs)
{
	struct sock_fprog program = {f->length, f->program};
	long fd;

	if (no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	fd = load(&program, WAITS);
	if (fd < 0 && errno == EINVAL)
		fd = load(&program, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	return fd < 0 ? -errno : (int)fd;
}
