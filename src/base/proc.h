/* proc: what the kernel knows of a process, from proc(5) and its cgroup. 0 where it says nothing. */
#ifndef UMBEL_BASE_PROC_H
#define UMBEL_BASE_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

uint64_t proc_resident_bytes(pid_t pid);
uint64_t proc_cpu_ticks(pid_t pid); /* user and system; sysconf(_SC_CLK_TCK) in a second */
bool proc_family(pid_t pid, pid_t *ret_parent, pid_t *ret_group); /* false: there is no such process */

struct proc_place {
	pid_t group, session;
	uint64_t started; /* ticks since the machine was: with the pid nobody else's */
	bool is_dead;     /* and not reaped yet */
};
bool proc_place(pid_t pid, struct proc_place *ret); /* false: there is no such process */

/* "PID:TICKS", of a process that nobody else will be. 0, or -ESRCH: it is not there, or there is no /proc. */
enum { PROC_IDENTITY = 40 };
int proc_identity(pid_t pid, char ret[PROC_IDENTITY]);

/* It has children of its own, of any of its threads. True also where the kernel does not say
 * (CONFIG_PROC_CHILDREN). Costs a file for each thread. */
bool proc_has_children(pid_t pid);

/* Whether a child of this process runs a program of its own by now. False also where that is ours. */
bool proc_has_executed(pid_t child);

/* A copy of a thread's descriptor, close-on-exec, or -errno: -EPERM (a container's filter, the program is not dumpable,
 * or the kernel, before 6.9, gives only those of the first thread), -EBADF, -ESRCH. The thread's, because its process
 * may have no first thread any more, or another table of descriptors. */
int proc_copy_fd(pid_t thread, pid_t process, int fd);

/* How often the kernel has killed for memory in the cgroup of this process and below it (v2,
 * memory.events). Its workers are in the same one. */
uint64_t proc_oom_kills(void);

/* The same with another root, for tests: proc_dir for /proc/self, cgroup_dir for /sys/fs/cgroup. */
uint64_t proc_oom_kills_at(const char *proc_dir, const char *cgroup_dir);

#endif
