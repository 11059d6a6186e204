/* The seccomp filter, run by hand over every system call: bind and listen of this architecture ask somebody, and
 * nothing else is touched. bpf.h runs what is given to sockets; here a load is of the machine's byte order, from
 * struct seccomp_data, and other jumps come. That the kernel takes it: test_trap. */
#include "net/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#define X32 0x40000000u
#define CALLS 600

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

static struct filter filter;

/* Where the kernel cannot (valgrind knows no seccomp(2)) libseccomp is told to write it nevertheless. */
static int set_up(void **state)
{
	int err = filter_build(&filter);

	if (err == -ENOSYS && seccomp_api_set(5) == 0)
		err = filter_build(&filter);
	if (err)
		print_error("filter_build: %s\n", strerror(-err));
	return err;
}

static int tear_down(void **state)
{
	filter_finish(&filter);
	assert_null(filter.program);
	filter_finish(&filter);
	return 0;
}

static uint32_t load(const struct seccomp_data *data, uint32_t offset)
{
	uint32_t value;

	assert_true(offset % 4 == 0 && offset < sizeof(*data)); /* the kernel refuses others */
	memcpy(&value, (const char *)data + offset, sizeof(value));
	return value;
}

static bool is_true(const struct sock_filter *in, uint32_t a)
{
	switch (BPF_OP(in->code)) {
	case BPF_JEQ:
		return a == in->k;
	case BPF_JGE:
		return a >= in->k;
	case BPF_JGT:
		return a > in->k;
	case BPF_JSET:
		return a & in->k;
	}
	fail_msg("jump %#x", in->code);
	return false;
}

static uint32_t run(uint32_t arch, uint32_t call)
{
	const struct seccomp_data data = {.arch = arch, .nr = (int)call};
	uint32_t a = 0;

	for (unsigned at = 0; at < filter.length; at++) {
		const struct sock_filter *in = &filter.program[at];

		if (in->code == (BPF_LD | BPF_W | BPF_ABS))
			a = load(&data, in->k);
		else if (in->code == (BPF_RET | BPF_K))
			return in->k;
		else if (in->code == (BPF_JMP | BPF_JA))
			at += in->k;
		else if (BPF_CLASS(in->code) == BPF_JMP && BPF_SRC(in->code) == BPF_K)
			at += is_true(in, a) ? in->jt : in->jf;
		else
			fail_msg("instruction %#x", in->code);
	}
	fail_msg("no return");
	return 0;
}

static void expect(uint32_t arch, uint32_t call, uint32_t action)
{
	uint32_t got = run(arch, call);

	if (got != action)
		fail_msg("call %#x of architecture %#x: %#x instead of %#x", call, arch, got, action);
}

static void test_native(void **state)
{
#ifdef NATIVE
	for (uint32_t call = 0; call <= CALLS; call++)
		expect(NATIVE, call, call == SYS_bind || call == SYS_listen ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW);
	/* A tracer sets -1 for a call that is to be skipped. */
	expect(NATIVE, UINT32_MAX, SECCOMP_RET_ALLOW);
	expect(NATIVE, X32 - 1, SECCOMP_RET_ALLOW);
#else
	print_message("skipped: the name of this architecture is not known here\n");
	skip();
#endif
}

/* Bits above a number do not make another call of it: x32's bind is not ours, and is not killed. */
static void test_x32(void **state)
{
#ifdef NATIVE
	for (uint32_t call = 0; call <= CALLS; call++)
		expect(NATIVE, X32 | call, SECCOMP_RET_ALLOW);
#else
	print_message("skipped: the name of this architecture is not known here\n");
	skip();
#endif
}

static void test_foreign(void **state)
{
	static const uint32_t others[] = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_RISCV64, 0, UINT32_MAX,
#if defined(__x86_64__)
					  AUDIT_ARCH_AARCH64,
#elif defined(__aarch64__)
					  AUDIT_ARCH_X86_64,
#endif
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		for (uint32_t call = 0; call <= CALLS; call++) {
			expect(others[i], call, SECCOMP_RET_ALLOW);
			expect(others[i], X32 | call, SECCOMP_RET_ALLOW);
		}
}

/* Every call of the program pays for it. */
static void test_is_short(void **state)
{
	assert_in_range(filter.length, 4, 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_native),
		cmocka_unit_test(test_x32),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_is_short),
	};

	return cmocka_run_group_tests_name("filter", tests, set_up, tear_down);
}
