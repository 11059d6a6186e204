#include "program/spawn.h"

#include "base/fd.h"
#include "net/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GROUPS_MAX = 1024 };

struct child_groups {
	int count; /* -1: leave them */
	gid_t list[GROUPS_MAX];
};

/* ---- in the child: only async-signal-safe calls, the primary may have threads ---- */

static char *child_write_number(char *to, int number)
{
	char digits[12], *d = digits + sizeof(digits);

	for (*--d = '\0'; number > 0; number /= 10)
		*--d = (char)('0' + number % 10);
	return stpcpy(to, d);
}

static void child_fail(int channel, const char *step, int error)
{
	char line[128] = "{\"cmd\":\"NODE_UMBEL_EXEC\",\"step\":\"";
	char *p = line + strlen(line);
	ssize_t ignored;

	p = stpcpy(p, step);
	p = stpcpy(p, "\",\"errno\":");
	p = child_write_number(p, error);
	p = stpcpy(p, "}\n");
	ignored = write(channel, line, (size_t)(p - line));
	(void)ignored;
	_exit(SPAWN_FAILED);
}

static void child_send_filter(int to, int notify)
{
	int error = notify < 0 ? notify : 0;
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec part = {&error, sizeof(error)};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

	if (notify >= 0) {
		memcpy(CMSG_DATA(&control.head), &notify, sizeof(notify));
		m.msg_control = &control;
		m.msg_controllen = sizeof(control.space);
	}
	sendmsg(to, &m, MSG_NOSIGNAL);
}

/* As we are now: who has CAP_SYS_ADMIN need not give up set-uid programs (no_new_privs). */
static void child_filter(const struct spawn *s)
{
	int notify;

	if (!s->filter)
		return;
	notify = filter_install(s->filter, false);
	if (notify == -EACCES)
		notify = filter_install(s->filter, true);
	child_send_filter(s->filter_to, notify);
}

static void child_signals(void)
{
	static const unsigned long defaults[8]; /* the kernel's struct sigaction: SIG_DFL and zeros */
	sigset_t none;

	/* exec resets handlers, but not what is ignored. By system call: glibc's keeps two signals for
	 * itself and would leave them as they were inherited. */
	for (int sig = 1; sig < NSIG; sig++)
		syscall(SYS_rt_sigaction, sig, defaults, NULL, NSIG / 8);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What is to be at number i; -1: nothing. */
static int child_source(const struct spawn *s, int i)
{
	int socket = i - SPAWN_FIRST_SOCKET, count = (int)s->socket_count;

	if (count == 0 || socket < 0)
		return i < SPAWN_FDS ? s->fds[i] : -1;
	return socket < count ? s->sockets[socket] : socket == count ? s->fds[s->channel] : -1;
}

/* First out of the way, then into place: a target may be the number of another's source. */
static int child_descriptors(const struct spawn *s, int *ret_channel)
{
	enum { PLACES = SPAWN_FDS + SPAWN_SOCKETS };
	int from[PLACES], channel = spawn_channel(s);

	for (int i = 0; i < PLACES; i++) {
		int source = child_source(s, i);

		from[i] = source < 0 ? -1 : fcntl(source, F_DUPFD_CLOEXEC, PLACES);
		if (from[i] < 0 && source >= 0)
			return errno;
	}
	*ret_channel = from[channel];
	for (int i = 0; i < PLACES; i++) {
		bool until_exec = i == channel && !s->keep_channel;

		if (from[i] < 0)
			close(i);
		else if (dup3(from[i], i, until_exec ? O_CLOEXEC : 0) < 0)
			return errno;
	}
	*ret_channel = channel;
	close_range(PLACES, ~0U, 0);
	return 0;
}

static int child_user(const struct spawn *s, const struct child_groups *groups)
{
	if (groups->count >= 0 && setgroups((size_t)groups->count, groups->list) < 0)
		return errno;
	if (s->gid >= 0 && setresgid((gid_t)s->gid, (gid_t)s->gid, (gid_t)s->gid) < 0)
		return errno;
	if (s->uid >= 0 && setresuid((uid_t)s->uid, (uid_t)s->uid, (uid_t)s->uid) < 0)
		return errno;
	return 0;
}

static void child(const struct spawn *s, const struct child_groups *groups, pid_t primary)
{
	int channel = s->fds[s->channel], error;

	child_filter(s); /* its descriptor is closed with all others */
	error = child_descriptors(s, &channel);
	if (error)
		child_fail(channel, "descriptors", error);
	setpgid(0, 0);
	setrlimit(RLIMIT_NOFILE, &s->nofile);
	error = child_user(s, groups);
	if (error)
		child_fail(channel, "user", error);
	if (s->cwd && chdir(s->cwd) < 0)
		child_fail(channel, "chdir", errno);
	/* After the change of user, which clears it. The primary may have died before. */
	if (!s->outlives_us)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != primary)
		_exit(SPAWN_FAILED);
	child_signals();
	if (s->pid_text)
		child_write_number(s->pid_text, getpid());
	execve(s->path, s->argv, s->env);
	child_fail(channel, "exec", errno);
}

/* ---- in the primary ---- */

static int find_groups(const struct spawn *s, struct child_groups *ret)
{
	struct passwd *user;

	ret->count = -1;
	if (s->uid < 0 && s->gid >= 0 && geteuid() == 0)
		ret->count = 0; /* ours would be root's */
	if (s->uid < 0 || (uid_t)s->uid == geteuid())
		return 0;
	ret->count = 0;
	user = getpwuid((uid_t)s->uid);
	if (!user)
		return 0; /* a number without a name has no supplementary groups */
	ret->count = GROUPS_MAX;
	if (getgrouplist(user->pw_name, s->gid >= 0 ? (gid_t)s->gid : user->pw_gid, ret->list,
			 &ret->count) < 0)
		return -E2BIG;
	return 0;
}

int spawn_channel(const struct spawn *s)
{
	return s->socket_count ? SPAWN_FIRST_SOCKET + (int)s->socket_count : s->channel;
}

int spawn_process(const struct spawn *s, pid_t *ret_pid, int *ret_pidfd)
{
	struct child_groups groups;
	sigset_t all, before;
	pid_t primary = getpid(), pid;
	int pidfd, err = find_groups(s, &groups);

	if (err)
		return err;
	/* A handler of ours must not run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		child(s, &groups, primary);
	err = pid < 0 ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return err;
	setpgid(pid, pid); /* here too: a signal to the group may come before the child is there */
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) {
		err = -errno;
		kill(pid, SIGKILL);
		waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED);
		return err;
	}
	*ret_pid = pid;
	*ret_pidfd = pidfd;
	return 0;
}

static int check_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return access(path, X_OK) < 0 ? -errno : 0;
}

static int join(char *out, size_t size, const char *dir, size_t dir_len, const char *name)
{
	int n = snprintf(out, size, "%.*s%s%s", (int)dir_len, dir, dir_len ? "/" : "", name);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int spawn_find(const char *name, const char *cwd, char *out, size_t size)
{
	const char *path = getenv("PATH"), *end;
	int err, best = -ENOENT;

	if (strchr(name, '/')) {
		char dir[PATH_MAX] = "";

		/* The child will be in cwd, but we look at it too. */
		if (name[0] != '/' && cwd && !realpath(cwd, dir))
			return -errno;
		err = join(out, size, dir, strlen(dir), name);
		return err ? err : check_program(out);
	}
	if (!name[0])
		return -ENOENT;
	for (path = path ? path : "/usr/local/bin:/usr/bin:/bin"; *path; path = *end ? end + 1 : end) {
		end = strchrnul(path, ':');
		err = join(out, size, path, (size_t)(end - path), name);
		err = err ? err : check_program(out);
		if (!err)
			return 0;
		if (err == -EACCES)
			best = err; /* as execvp(3): a later directory may have a better one */
	}
	return best;
}
