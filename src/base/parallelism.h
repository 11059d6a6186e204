/* parallelism: how many CPUs this process may really use. */
#ifndef UMBEL_BASE_PARALLELISM_H
#define UMBEL_BASE_PARALLELISM_H

/* Affinity mask (sched_getaffinity) capped by the CPU quota of this process's cgroup and each of its
 * parents (v2: cpu.max, v1: cpu.cfs_quota_us / cpu.cfs_period_us), rounded up. At least 1. */
int parallelism(void);

/* The pure parts, for tests. Quota in CPUs rounded up; 0: no limit or not understood. */
int parallelism_quota_v2(const char *cpu_max);                        /* "150000 100000\n", "max 100000\n" */
int parallelism_quota_v1(const char *quota_us, const char *period_us); /* "-1\n", "100000\n" */

/* The same with another root, for tests: proc_dir for /proc/self, cgroup_dir for /sys/fs/cgroup. */
int parallelism_at(const char *proc_dir, const char *cgroup_dir, int affinity);

#endif
