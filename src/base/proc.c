#include "base/proc.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

uint64_t proc_resident_bytes(pid_t pid)
{
	char path[64];
	unsigned long pages = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	fclose(f);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What comes after the name in /proc/PID/stat. NULL: there is no such process. */
static const char *read_stat(pid_t pid, char *text, size_t size)
{
	char path[64];
	const char *after_name;
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return NULL;
	len = fread(text, 1, size - 1, f);
	fclose(f);
	text[len] = '\0';
	/* The name may contain anything, a parenthesis too. */
	after_name = strrchr(text, ')');
	return after_name ? after_name + 1 : NULL;
}

uint64_t proc_cpu_ticks(pid_t pid)
{
	char text[1024];
	unsigned long long user = 0, system = 0;
	const char *rest = read_stat(pid, text, sizeof(text));

	if (!rest || sscanf(rest, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
		return 0;
	return user + system;
}

bool proc_family(pid_t pid, pid_t *ret_parent, pid_t *ret_group)
{
	char text[1024];
	int parent, group;
	const char *rest = read_stat(pid, text, sizeof(text));

	if (!rest || sscanf(rest, " %*c %d %d", &parent, &group) != 2)
		return false;
	*ret_parent = parent;
	*ret_group = group;
	return true;
}

static bool thread_has_children(int tasks, const char *thread)
{
	char path[PATH_MAX], byte;
	bool has = true;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/children", thread);
	fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	n = read(fd, &byte, 1);
	has = n != 0 && !(n < 0 && errno == ESRCH); /* that: the thread has just ended */
	fd_close(&fd);
	return has;
}

bool proc_has_children(pid_t pid)
{
	char path[64];
	bool has = false;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return true;
	for (const struct dirent *e; !has && (e = readdir(tasks));)
		has = e->d_name[0] != '.' && thread_has_children(dirfd(tasks), e->d_name);
	closedir(tasks);
	return has;
}

bool proc_place(pid_t pid, struct proc_place *ret)
{
	char text[1024], state;
	int group, session;
	unsigned long long started;
	const char *rest = read_stat(pid, text, sizeof(text));

	if (!rest || sscanf(rest, " %c %*d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state,
			    &group, &session, &started) != 4)
		return false;
	*ret = (struct proc_place){group, session, started, state == 'Z' || state == 'X'};
	return true;
}

int proc_identity(pid_t pid, char ret[PROC_IDENTITY])
{
	struct proc_place place;

	if (!proc_place(pid, &place))
		return -ESRCH;
	snprintf(ret, PROC_IDENTITY, "%d:%llu", (int)pid, (unsigned long long)place.started);
	return 0;
}

bool proc_has_executed(pid_t child)
{
	char path[64];
	struct stat its, ours;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)child);
	return stat(path, &its) == 0 && stat("/proc/self/exe", &ours) == 0 &&
	       (its.st_ino != ours.st_ino || its.st_dev != ours.st_dev);
}

/* The cgroup of version 2 is the line "0::/path". */
static int find_cgroup(const char *proc_dir, char *ret, size_t size)
{
	char path[PATH_MAX], line[PATH_MAX];
	FILE *f;
	int found = 0;

	snprintf(path, sizeof(path), "%s/cgroup", proc_dir);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		found = strncmp(line, "0::/", 4) == 0 && strlen(line + 3) < size;
		if (found)
			strcpy(ret, line + 3);
	}
	if (f)
		fclose(f);
	return found;
}

uint64_t proc_oom_kills_at(const char *proc_dir, const char *cgroup_dir)
{
	char cgroup[PATH_MAX / 2], path[PATH_MAX], line[128];
	unsigned long long count = 0;
	FILE *f;

	if (!find_cgroup(proc_dir, cgroup, sizeof(cgroup)))
		return 0;
	snprintf(path, sizeof(path), "%s%s/memory.events", cgroup_dir, cgroup);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "oom_kill %llu", &count) == 1)
			break;
	if (f)
		fclose(f);
	return count;
}

uint64_t proc_oom_kills(void)
{
	return proc_oom_kills_at("/proc/self", "/sys/fs/cgroup");
}

static int copy_from(pid_t pid, unsigned flags, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, flags), copy;

	if (pidfd < 0)
		return -errno;
	copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (copy < 0)
		copy = -errno;
	fd_close(&pidfd);
	return copy;
}

static bool is_same(pid_t thread, int fd, int copy)
{
	struct stat its, ours;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)thread, fd);
	return stat(path, &its) == 0 && fstat(copy, &ours) == 0 && its.st_ino == ours.st_ino &&
	       its.st_dev == ours.st_dev;
}

/* Before Linux 6.9 only the process can be asked, and that is its first thread: it may have ended, or have other
 * descriptors than the one that calls (unshare(2)). */
int proc_copy_fd(pid_t thread, pid_t process, int fd)
{
	int copy = copy_from(thread, thread == process ? 0 : PIDFD_THREAD, fd);

	if (copy != -EINVAL || thread == process)
		return copy;
	copy = copy_from(process, 0, fd);
	if (copy >= 0 && is_same(thread, fd, copy))
		return copy;
	fd_close(&copy);
	return -EPERM;
}
