/* CPU quotas of cgroups, read from trees of files that look like /proc/self and /sys/fs/cgroup. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/parallelism.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *cpu_max;
	int cpus;
} quotas_v2[] = {
	{"max 100000\n", 0}, {"100000 100000\n", 1}, {"150000 100000\n", 2}, {"200000 100000\n", 2},
	{"200001 100000\n", 3}, {"1000 100000\n", 1}, {"50000 50000", 1}, {"400000 50000\n", 8},
	{"", 0}, {"\n", 0}, {"max\n", 0}, {"100000\n", 0}, {"0 100000\n", 0}, {"-1 100000\n", 0},
	{"100000 0\n", 0}, {"100000 -5\n", 0}, {"x y\n", 0}, {"100000 max\n", 0},
	{"9223372036854775807 1\n", INT_MAX}, {"99999999999999999999999 100000\n", INT_MAX},
};

static const struct {
	const char *quota_us, *period_us;
	int cpus;
} quotas_v1[] = {
	{"-1\n", "100000\n", 0}, {"100000\n", "100000\n", 1}, {"150000\n", "100000\n", 2},
	{"1000\n", "100000\n", 1}, {"300000\n", "100000\n", 3}, {"300001\n", "100000\n", 4},
	{"0\n", "100000\n", 0}, {"100000\n", "0\n", 0}, {"100000\n", "\n", 0}, {"", "", 0},
	{"x\n", "100000\n", 0}, {"9223372036854775807\n", "1\n", INT_MAX},
};

static void test_quotas(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(quotas_v2); i++)
		if (parallelism_quota_v2(quotas_v2[i].cpu_max) != quotas_v2[i].cpus)
			fail_msg("v2 %s", quotas_v2[i].cpu_max);
	for (size_t i = 0; i < COUNT(quotas_v1); i++)
		if (parallelism_quota_v1(quotas_v1[i].quota_us, quotas_v1[i].period_us) !=
		    quotas_v1[i].cpus)
			fail_msg("v1 %s %s", quotas_v1[i].quota_us, quotas_v1[i].period_us);
}

/* ---- trees ---- */

#define MAX_FILES 12

struct file {
	const char *path; /* "proc/…" or "sys/…"; one that ends with a slash is a directory */
	const char *text;
};

#define V1(dir, quota) \
	{dir "/cpu.cfs_quota_us", quota "\n"}, {dir "/cpu.cfs_period_us", "100000\n"}

static const struct tree {
	const char *name;
	struct file files[MAX_FILES];
	int affinity;
	int cpus;
} trees[] = {
	{"nothing there", {{0}}, 4, 4},
	{"affinity of nothing", {{0}}, 0, 1},
	{"no cgroup files", {{"proc/cgroup", "0::/a\n"}}, 4, 4},
	{"empty", {{"proc/cgroup", ""}, {"sys/cpu.max", "100000 100000\n"}}, 4, 4},
	{"nonsense",
	 {{"proc/cgroup", "\n:\n::\nx\n0:\n0:cpu\n0::x\n"}, {"sys/cpu.max", "1 1\n"}}, 4, 4},

	{"v2 own", {{"proc/cgroup", "0::/a\n"}, {"sys/a/cpu.max", "150000 100000\n"}}, 4, 2},
	{"v2 max", {{"proc/cgroup", "0::/a\n"}, {"sys/a/cpu.max", "max 100000\n"}}, 4, 4},
	{"v2 more than affinity",
	 {{"proc/cgroup", "0::/a\n"}, {"sys/a/cpu.max", "800000 100000\n"}}, 4, 4},
	{"v2 no line feed", {{"proc/cgroup", "0::/a"}, {"sys/a/cpu.max", "150000 100000"}}, 4, 2},
	{"v2 parent is smaller",
	 {{"proc/cgroup", "0::/a/b/c\n"}, {"sys/a/b/c/cpu.max", "300000 100000\n"},
	  {"sys/a/b/cpu.max", "max 100000\n"}, {"sys/a/cpu.max", "200000 100000\n"}}, 8, 2},
	{"v2 child is smaller",
	 {{"proc/cgroup", "0::/a/b\n"}, {"sys/a/b/cpu.max", "100000 100000\n"},
	  {"sys/a/cpu.max", "200000 100000\n"}}, 8, 1},
	{"v2 root counts too",
	 {{"proc/cgroup", "0::/a/b\n"}, {"sys/a/b/", NULL},
	  {"sys/cpu.max", "300000 100000\n"}}, 8, 3},
	{"v2 sibling does not",
	 {{"proc/cgroup", "0::/a\n"}, {"sys/a/", NULL}, {"sys/b/cpu.max", "100000 100000\n"},
	  {"sys/a/c/cpu.max", "100000 100000\n"}}, 8, 8},
	{"v2 colon in the name",
	 {{"proc/cgroup", "0::/a:b\n"}, {"sys/a:b/cpu.max", "200000 100000\n"}}, 8, 2},
	{"v2 in a cgroup namespace",
	 {{"proc/cgroup", "0::/\n"}, {"sys/cpu.max", "250000 100000\n"}}, 8, 3},
	{"v2 in a container, the host's path",
	 {{"proc/cgroup", "0::/docker/0123\n"}, {"sys/cpu.max", "250000 100000\n"}}, 8, 3},
	{"v2 outside of the cgroup namespace",
	 {{"proc/cgroup", "0::/../x\n"}, {"sys/cpu.max", "250000 100000\n"},
	  {"x/cpu.max", "100000 100000\n"}}, 8, 3},
	{"v2 above the mount is not ours",
	 {{"proc/cgroup", "0::/a\n"}, {"sys/a/", NULL}, {"cpu.max", "100000 100000\n"}}, 8, 8},

	{"v1 own", {{"proc/cgroup", "4:cpu:/a\n"}, V1("sys/cpu/a", "150000")}, 4, 2},
	{"v1 no limit", {{"proc/cgroup", "4:cpu:/a\n"}, V1("sys/cpu/a", "-1")}, 4, 4},
	{"v1 cpu,cpuacct under cpu",
	 {{"proc/cgroup", "4:cpu,cpuacct:/a\n"}, V1("sys/cpu/a", "200000")}, 4, 2},
	{"v1 cpu,cpuacct",
	 {{"proc/cgroup", "4:cpu,cpuacct:/a\n"}, V1("sys/cpu,cpuacct/a", "200000")}, 4, 2},
	{"v1 cpuacct,cpu",
	 {{"proc/cgroup", "4:cpuacct,cpu:/a\n"}, V1("sys/cpuacct,cpu/a", "200000")}, 4, 2},
	{"v1 parent is smaller",
	 {{"proc/cgroup", "4:cpu:/a/b\n"}, V1("sys/cpu/a/b", "300000"),
	  V1("sys/cpu/a", "200000")}, 8, 2},
	{"v1 root counts too",
	 {{"proc/cgroup", "4:cpu:/a\n"}, {"sys/cpu/a/", NULL}, V1("sys/cpu", "200000")}, 8, 2},
	{"v1 in a container, the host's path",
	 {{"proc/cgroup", "4:cpu:/docker/0123\n"}, V1("sys/cpu", "200000")}, 8, 2},
	{"v1 other controllers are not asked",
	 {{"proc/cgroup", "9:name=systemd:/a\n3:cpuset:/a\n2:cpuacct:/a\n"},
	  V1("sys/cpu/a", "100000")}, 8, 8},
	{"v1 no period",
	 {{"proc/cgroup", "4:cpu:/a\n"}, {"sys/cpu/a/cpu.cfs_quota_us", "100000\n"}}, 8, 8},

	{"hybrid, limit in v1",
	 {{"proc/cgroup", "9:memory:/m\n4:cpu,cpuacct:/a\n1:name=systemd:/s\n0::/s\n"},
	  V1("sys/cpu,cpuacct/a", "300000"), {"sys/unified/s/", NULL}}, 8, 3},
	{"hybrid, limit in v2",
	 {{"proc/cgroup", "4:memory:/m\n0::/s/t\n"}, {"sys/unified/s/t/", NULL},
	  {"sys/unified/s/cpu.max", "100000 100000\n"}}, 8, 1},
	{"both: the smaller one",
	 {{"proc/cgroup", "4:cpu:/a\n0::/s\n"}, V1("sys/cpu/a", "300000"),
	  {"sys/unified/s/cpu.max", "200000 100000\n"}}, 8, 2},
};

static void make_directories(char *path)
{
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		mkdir(path, 0755);
		*p = '/';
	}
}

static void make_file(const char *root, const struct file *file)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, file->path);
	make_directories(path);
	if (!file->text)
		return;
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(file->text, f);
	assert_int_equal(fclose(f), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int measure(const struct tree *tree)
{
	char root[] = "/tmp/umbel-parallelism-XXXXXX", proc_dir[64], cgroup_dir[64];
	int cpus;

	assert_non_null(mkdtemp(root));
	for (size_t i = 0; i < MAX_FILES && tree->files[i].path; i++)
		make_file(root, &tree->files[i]);
	snprintf(proc_dir, sizeof(proc_dir), "%s/proc", root);
	snprintf(cgroup_dir, sizeof(cgroup_dir), "%s/sys", root);
	cpus = parallelism_at(proc_dir, cgroup_dir, tree->affinity);
	assert_int_equal(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
	return cpus;
}

static void test_trees(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(trees); i++) {
		int cpus = measure(&trees[i]);

		if (cpus != trees[i].cpus)
			fail_msg("%s: %d instead of %d", trees[i].name, cpus, trees[i].cpus);
	}
}

/* Paths that fit into no buffer are as good as missing. */
static void test_long_paths(void **state)
{
	static char line[2 * PATH_MAX] = "0::/";
	static char directory[PATH_MAX];
	struct tree tree = {.affinity = 4};

	(void)state;
	memset(line + 4, 'a', PATH_MAX - 5); /* the path alone fits, with the mount it does not */
	tree.files[0] = (struct file){"proc/cgroup", line};
	tree.files[1] = (struct file){"sys/cpu.max", "200000 100000\n"};
	assert_int_equal(measure(&tree), 2);
	memset(line + 4, 'a', sizeof(line) - 5); /* no line of the kernel is that long */
	assert_int_equal(measure(&tree), 2);
	memset(directory, 'a', sizeof(directory) - 1);
	assert_int_equal(parallelism_at(directory, directory, 4), 4);
}

/* Here, whatever the machine is. */
static void test_here(void **state)
{
	cpu_set_t all, one;
	int cpu = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	assert_in_range(parallelism(), 1, CPU_COUNT(&all));
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(parallelism(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quotas),
		cmocka_unit_test(test_trees),
		cmocka_unit_test(test_long_paths),
		cmocka_unit_test(test_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
