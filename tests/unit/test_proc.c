/* What the kernel knows of a process, and how often it has killed for memory. */
#include "base/proc.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { NOBODYS_PID = INT_MAX }; /* over the kernel's limit of 2^22 */

/* ---- out-of-memory kills: a /proc/self and a /sys/fs/cgroup of our own ---- */

static const struct {
	const char *what, *cgroup, *events;
	uint64_t expected;
} machines[] = {
    {"version 2", "0::/app\n", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 7\noom_group_kill 5\n", 7},
    {"none yet", "0::/app\n", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n", 0},
    {"both versions", "12:memory:/other\n1:name=systemd:/x\n0::/app\n", "oom_kill 1\n", 1},
    {"many", "0::/app\n", "oom_kill 18446744073709551615\n", UINT64_MAX},
    {"no line feed", "0::/app", "oom_kill 4", 4},
    {"version 1 only", "12:memory:/app\n1:name=systemd:/app\n", "oom_kill 7\n", 0},
    {"an old kernel", "0::/app\n", "low 0\nhigh 0\n", 0},
    {"no such file", "0::/app\n", NULL, 0},
    {"another cgroup", "0::/elsewhere\n", "oom_kill 7\n", 0},
    {"nonsense", "0::\n\n0:/app\n", "oom_kill 7\n", 0},
    {"no number", "0::/app\n", "oom_kill x\n", 0},
    {"nothing", "", "oom_kill 7\n", 0},
};

struct machine {
	char dir[32], proc[64], cgroups[64];
	char cgroup_file[96], app[96], events_file[128];
};

static int set_up(void **state)
{
	static struct machine m;

	strcpy(m.dir, "/tmp/umbel-proc-XXXXXX");
	if (!mkdtemp(m.dir))
		return -1;
	snprintf(m.proc, sizeof(m.proc), "%s/proc", m.dir);
	snprintf(m.cgroups, sizeof(m.cgroups), "%s/cgroup", m.dir);
	snprintf(m.cgroup_file, sizeof(m.cgroup_file), "%s/cgroup", m.proc);
	snprintf(m.app, sizeof(m.app), "%s/app", m.cgroups);
	snprintf(m.events_file, sizeof(m.events_file), "%s/memory.events", m.app);
	*state = &m;
	return mkdir(m.proc, 0700) < 0 || mkdir(m.cgroups, 0700) < 0 || mkdir(m.app, 0700) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	struct machine *m = *state;

	unlink(m->events_file);
	unlink(m->cgroup_file);
	rmdir(m->app);
	rmdir(m->cgroups);
	rmdir(m->proc);
	return rmdir(m->dir);
}

static void write_file(const char *path, const char *text)
{
	FILE *f;

	unlink(path);
	if (!text)
		return;
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void test_oom_kills(void **state)
{
	struct machine *m = *state;

	for (size_t i = 0; i < COUNT(machines); i++) {
		uint64_t got;

		write_file(m->cgroup_file, machines[i].cgroup);
		write_file(m->events_file, machines[i].events);
		got = proc_oom_kills_at(m->proc, m->cgroups);
		if (got != machines[i].expected)
			fail_msg("%s: %llu", machines[i].what, (unsigned long long)got);
	}
}

/* In a container the cgroup may be the root of what can be seen. */
static void test_oom_kills_of_root(void **state)
{
	struct machine *m = *state;

	write_file(m->cgroup_file, "0::/\n");
	write_file(m->events_file, "oom_kill 9\n");
	assert_int_equal(proc_oom_kills_at(m->proc, m->app), 9);
}

static void test_oom_kills_without_files(void **state)
{
	struct machine *m = *state;

	write_file(m->cgroup_file, NULL);
	assert_int_equal(proc_oom_kills_at(m->proc, m->cgroups), 0);
	assert_int_equal(proc_oom_kills_at("/nonexistent", "/nonexistent"), 0);
}

/* A path that is too long for us is no cgroup, and no overflow. */
static void test_oom_kills_long_path(void **state)
{
	static char text[8 * PATH_MAX];
	struct machine *m = *state;

	for (size_t len = PATH_MAX / 2 - 8; len < sizeof(text) - 8; len += len < PATH_MAX + 16 ? 1 : len) {
		memset(text, 'x', len);
		memcpy(text, "0::/", 4);
		strcpy(text + len, "\n");
		write_file(m->cgroup_file, text);
		assert_int_equal(proc_oom_kills_at(m->proc, m->cgroups), 0);
	}
}

/* ---- a process ---- */

static void test_resident_bytes(void **state)
{
	enum { MORE = 32 << 20 };
	uint64_t before = proc_resident_bytes(getpid()), after;
	void *memory, *untouched;

	(void)state;
	assert_true(before >= (uint64_t)sysconf(_SC_PAGESIZE));
	memory = mmap(NULL, MORE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	untouched = mmap(NULL, 8 * MORE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	assert_ptr_not_equal(untouched, MAP_FAILED);
	after = proc_resident_bytes(getpid());
	munmap(memory, MORE);
	munmap(untouched, 8 * MORE);
	assert_true(after >= before + MORE / 2 && after <= before + 2 * MORE);
}

/* Whatever its name is: a parenthesis in it is not the end of it. */
static void test_cpu_ticks(void **state)
{
	static const char *const names[] = {"test", ") R 1 1 1", "a b (c)"};
	time_t deadline = time(NULL) + 60;

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		uint64_t before = proc_cpu_ticks(getpid()), after;

		assert_int_equal(prctl(PR_SET_NAME, names[i]), 0);
		do {
			after = proc_cpu_ticks(getpid());
			assert_true(time(NULL) < deadline);
		} while (after == before);
		assert_in_range(after, before, before + 100 * (uint64_t)sysconf(_SC_CLK_TCK));
	}
}

static pid_t fork_child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	assert_true(pid > 0);
	return pid;
}

static void *fork_in_thread(void *ret)
{
	*(pid_t *)ret = fork_child();
	return NULL;
}

/* Those of any thread, also of one that has ended. */
static void test_children(void **state)
{
	pid_t child;
	pthread_t thread;

	(void)state;
	if (access("/proc/thread-self/children", F_OK) < 0) {
		assert_true(proc_has_children(getpid()));
		return;
	}
	for (int in_thread = 0; in_thread < 2; in_thread++) {
		assert_false(proc_has_children(getpid()));
		if (in_thread) {
			assert_int_equal(pthread_create(&thread, NULL, fork_in_thread, &child), 0);
			pthread_join(thread, NULL);
		} else {
			child = fork_child();
		}
		assert_true(proc_has_children(getpid()));
		assert_false(proc_has_children(child));
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
	assert_false(proc_has_children(getpid()));
	assert_true(proc_has_children(NOBODYS_PID));
}

/* It is another one's when it has ended; until it is reaped it is seen to be dead. */
static void test_place(void **state)
{
	char ours[PROC_IDENTITY], its[PROC_IDENTITY], expected[PROC_IDENTITY];
	struct proc_place place, parent;
	siginfo_t info;
	pid_t child = fork_child();

	(void)state;
	assert_true(proc_place(getpid(), &parent));
	assert_true(proc_place(child, &place));
	assert_int_equal(place.group, getpgrp());
	assert_int_equal(place.session, getsid(0));
	assert_false(place.is_dead);
	assert_true(place.started >= parent.started);
	assert_int_equal(proc_identity(getpid(), ours), 0);
	assert_int_equal(proc_identity(child, its), 0);
	assert_string_not_equal(ours, its);
	snprintf(expected, sizeof(expected), "%d:%llu", (int)child, (unsigned long long)place.started);
	assert_string_equal(its, expected);
	kill(child, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	assert_true(proc_place(child, &place));
	assert_true(place.is_dead);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_false(proc_place(NOBODYS_PID, &place));
	assert_int_equal(proc_identity(NOBODYS_PID, its), -ESRCH);
}

static void test_nobody(void **state)
{
	(void)state;
	assert_int_equal(proc_resident_bytes(NOBODYS_PID), 0);
	assert_int_equal(proc_cpu_ticks(NOBODYS_PID), 0);
	assert_int_equal(proc_resident_bytes(-1), 0);
	assert_int_equal(proc_cpu_ticks(-1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_oom_kills),
	    cmocka_unit_test(test_oom_kills_of_root),
	    cmocka_unit_test(test_oom_kills_without_files),
	    cmocka_unit_test(test_oom_kills_long_path),
	    cmocka_unit_test(test_resident_bytes),
	    cmocka_unit_test(test_cpu_ticks),
	    cmocka_unit_test(test_children),
	    cmocka_unit_test(test_place),
	    cmocka_unit_test(test_nobody),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
