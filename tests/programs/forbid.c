/* Executes a program for which some system calls fail with EPERM, as for many in containers; or with ENOMEM; or as with
 * an older kernel.
 *
 *     forbid CALL[,CALL] PROGRAM ARGS...      pidfd_getfd, process_vm_readv, seccomp, steering, passcred, wait_killable */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ANY = 0xffff };

static const struct {
	const char *name;
	unsigned number;
	unsigned second, third; /* of its arguments */
	unsigned error;
} calls[] = {
    {"pidfd_getfd", SYS_pidfd_getfd, ANY, ANY, EPERM},
    {"process_vm_readv", SYS_process_vm_readv, ANY, ANY, EPERM},
    {"seccomp", SYS_seccomp, ANY, ANY, EPERM},
    {"steering", SYS_setsockopt, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, ENOMEM},
    {"passcred", SYS_setsockopt, SOL_SOCKET, SO_PASSCRED, ENOMEM},
    {"wait_killable", SYS_seccomp, SECCOMP_FILTER_FLAG_NEW_LISTENER | 1 << 5, ANY, EINVAL}, /* before 5.19 */
};

/* The half of an argument that an int is in. */
static unsigned place_of(unsigned argument)
{
	unsigned high_first = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;

	return (unsigned)offsetof(struct seccomp_data, args) + 8 * argument + 4 * high_first;
}

static int forbid(const char *name)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		struct sock_filter code[] = {
		    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 7),
		    BPF_JUMP(BPF_JMP | BPF_JA, calls[i].second == ANY ? 2 : 0, 0, 0),
		    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, place_of(1)),
		    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].second, 0, 4),
		    BPF_JUMP(BPF_JMP | BPF_JA, calls[i].third == ANY ? 2 : 0, 0, 0),
		    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, place_of(2)),
		    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].third, 0, 1),
		    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | calls[i].error),
		    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = {sizeof(code) / sizeof(*code), code};

		if (strcmp(name, calls[i].name) != 0)
			continue;
		/* With the privilege to do without: so that what umbel runs has its set-uid bits, as it mostly has. */
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
			return 0;
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
			return 0;
		perror("forbid");
		return 1;
	}
	fprintf(stderr, "forbid: %s is not one that it knows\n", name);
	return 2;
}

int main(int argc, char **argv)
{
	int status = argc > 2 ? 0 : 2;

	for (char *name = argc > 2 ? strtok(argv[1], ",") : NULL; name && !status; name = strtok(NULL, ","))
		status = forbid(name);
	if (status)
		return status;
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
