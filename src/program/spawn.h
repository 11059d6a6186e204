/* spawn: one process from fork to exec. What it inherits is exactly what is named here. */
#ifndef UMBEL_PROGRAM_SPAWN_H
#define UMBEL_PROGRAM_SPAWN_H

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

#define SPAWN_FAILED 127 /* exit status of a child that has no program */
#define SPAWN_FDS 8 /* descriptors that a program may be given */
#define SPAWN_SOCKETS 16 /* and so many sockets */
#define SPAWN_FIRST_SOCKET 3

struct filter;

struct spawn {
	const char *path;   /* resolved: no search in PATH is done here */
	char *const *argv;
	char *const *env;   /* all of it */
	const char *cwd;    /* NULL: ours */
	int64_t uid, gid;   /* -1: ours */
	int fds[SPAWN_FDS]; /* descriptors to become 0, 1, ...; -1: none there */
	int channel;        /* which of them is the channel. It also tells of a failed exec, see below */
	const int *sockets; /* become 3, 4, ...: what fds has there is not given, and the channel is behind them */
	unsigned socket_count; /* 0: none */
	char *pid_text;     /* in env: the child writes its process number there (10 digits, a NUL); NULL: nowhere */
	bool keep_channel;  /* false: it is closed by the exec */
	bool outlives_us;   /* it notices by itself when we are gone (Node); else it is killed then */
	const struct filter *filter; /* NULL: none. Loaded first of all in the child, whose notification descriptor then
				      * comes over filter_to, with an int that is 0; else that int is -errno */
	int filter_to;        /* our end is for the caller to read; a stream or SEQPACKET socket */
	struct rlimit nofile; /* what this process had before it raised its own */
};

/* Where the program finds the channel. */
int spawn_channel(const struct spawn *s);

/* Forks and executes: own process group, empty signal mask, default dispositions, unless
 * outlives_us killed when this thread ends, every other descriptor closed. The descriptors stay the caller's. 0, or -errno of what
 * failed before or in fork(2). What fails in the child is written to the channel as one
 * NODE_UMBEL_EXEC line, and the child exits with 127. */
int spawn_process(const struct spawn *s, pid_t *ret_pid, int *ret_pidfd);

/* Finds what execvp(3) in cwd would run: name as it is with a slash, else through PATH. Into out[size]: a path
 * that is right here and there.
 * -ENOENT, -EACCES (not executable), -EISDIR, -ENAMETOOLONG. */
int spawn_find(const char *name, const char *cwd, char *out, size_t size);

#endif
