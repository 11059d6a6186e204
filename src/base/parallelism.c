/* parallelism: affinity and cgroup quotas. A file that is missing or not understood is no limit. */
#define _GNU_SOURCE 1
#include "base/parallelism.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- quotas, pure ---- */

static int quota(long long quota_us, long long period_us)
{
	long long cpus;

	if (quota_us <= 0 || period_us <= 0)
		return 0;
	cpus = quota_us / period_us + (quota_us % period_us != 0);
	return cpus < INT_MAX ? (int)cpus : INT_MAX;
}

int parallelism_quota_v2(const char *cpu_max)
{
	long long quota_us, period_us;

	if (sscanf(cpu_max, "%lld %lld", &quota_us, &period_us) != 2) /* "max 100000" */
		return 0;
	return quota(quota_us, period_us);
}

int parallelism_quota_v1(const char *quota_us, const char *period_us)
{
	return quota(strtoll(quota_us, NULL, 10), strtoll(period_us, NULL, 10));
}

/* ---- files ---- */

__attribute__((format(printf, 3, 4)))
static bool make_path(char *out, size_t size, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(out, size, format, args);
	va_end(args);
	return len >= 0 && (size_t)len < size;
}

/* A cgroup file is one short line. False: not there. */
static bool read_file(const char *dir, const char *name, char *out, size_t size)
{
	char path[PATH_MAX];
	ssize_t len;
	int fd;

	if (!make_path(path, sizeof(path), "%s/%s", dir, name))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, out, size - 1);
	close(fd);
	if (len < 0)
		return false;
	out[len] = 0;
	return true;
}

static int dir_quota_v2(const char *dir)
{
	char cpu_max[64];

	if (!read_file(dir, "cpu.max", cpu_max, sizeof(cpu_max)))
		return 0;
	return parallelism_quota_v2(cpu_max);
}

static int dir_quota_v1(const char *dir)
{
	char quota_us[32], period_us[32];

	if (!read_file(dir, "cpu.cfs_quota_us", quota_us, sizeof(quota_us)) ||
	    !read_file(dir, "cpu.cfs_period_us", period_us, sizeof(period_us)))
		return 0;
	return parallelism_quota_v1(quota_us, period_us);
}

/* ---- the tree ---- */

static int smaller(int cpus, int limit)
{
	return limit > 0 && limit < cpus ? limit : cpus;
}

/* From the process's cgroup up to the root of the mount. */
static int cap_levels(
    const char *mount, const char *cgroup, int (*dir_quota)(const char *), int cpus)
{
	char dir[PATH_MAX];
	size_t root = strlen(mount);

	/* In a container the path may be the host's, or (/../x) lie outside of our cgroup
	 * namespace: then all that we can see of our cgroups is the root. */
	if (!make_path(dir, sizeof(dir), "%s%s", mount, cgroup) || strstr(cgroup, "/..") ||
	    access(dir, F_OK) != 0)
		return smaller(cpus, dir_quota(mount));
	for (;;) {
		cpus = smaller(cpus, dir_quota(dir));
		if (strlen(dir) <= root)
			return cpus;
		*strrchr(dir, '/') = 0; /* the last one is where the cgroup's path begins */
	}
}

static int cap_v1(const char *cgroup_dir, const char *cgroup, int cpus)
{
	static const char *const names[] = {"cpu", "cpu,cpuacct", "cpuacct,cpu"};
	char mount[PATH_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (make_path(mount, sizeof(mount), "%s/%s", cgroup_dir, names[i]) &&
		    access(mount, F_OK) == 0)
			return cap_levels(mount, cgroup, dir_quota_v1, cpus);
	return cpus;
}

/* Beside v1 (systemd's hybrid layout) v2 is mounted one level further down. */
static int cap_v2(const char *cgroup_dir, const char *cgroup, int cpus)
{
	char mount[PATH_MAX];

	if (make_path(mount, sizeof(mount), "%s/unified", cgroup_dir) && access(mount, F_OK) == 0)
		return cap_levels(mount, cgroup, dir_quota_v2, cpus);
	return cap_levels(cgroup_dir, cgroup, dir_quota_v2, cpus);
}

static bool has_cpu(char *controllers)
{
	char *save, *name = strtok_r(controllers, ",", &save);

	while (name && strcmp(name, "cpu") != 0)
		name = strtok_r(NULL, ",", &save);
	return name != NULL;
}

/* One line of /proc/self/cgroup: "4:cpu,cpuacct:/a/b", and for v2 "0::/a/b". */
static int cap_line(char *line, const char *cgroup_dir, int cpus)
{
	char *controllers = strchr(line, ':');
	char *cgroup = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!cgroup || cgroup[1] != '/')
		return cpus;
	*controllers++ = 0;
	*cgroup++ = 0;
	cgroup[strcspn(cgroup, "\n")] = 0;
	if (strcmp(cgroup, "/") == 0)
		cgroup = ""; /* the mount itself */
	if (!*controllers)
		return cap_v2(cgroup_dir, cgroup, cpus);
	return has_cpu(controllers) ? cap_v1(cgroup_dir, cgroup, cpus) : cpus;
}

int parallelism_at(const char *proc_dir, const char *cgroup_dir, int affinity)
{
	char path[PATH_MAX], line[PATH_MAX + 256];
	int cpus = affinity > 1 ? affinity : 1;
	FILE *file;

	if (!make_path(path, sizeof(path), "%s/cgroup", proc_dir))
		return cpus;
	file = fopen(path, "re");
	if (!file)
		return cpus;
	while (fgets(line, sizeof(line), file))
		cpus = cap_line(line, cgroup_dir, cpus);
	fclose(file);
	return cpus;
}

int parallelism(void)
{
	cpu_set_t set[8]; /* 8192 CPUs, Linux's most: it refuses a mask that is too short */
	int affinity;

	if (sched_getaffinity(0, sizeof(set), set) == 0)
		affinity = CPU_COUNT_S(sizeof(set), set);
	else
		affinity = (int)sysconf(_SC_NPROCESSORS_ONLN);
	return parallelism_at("/proc/self", "/sys/fs/cgroup", affinity);
}
