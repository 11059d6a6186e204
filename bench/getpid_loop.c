/* getpid_loop filter|none CALLS: what a system call costs that asks nothing of the kernel, with and without the
 * filter of intercepted programs. Prints the CPU time of one in ns. */
#include "net/filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
	long calls = argc == 3 ? atol(argv[2]) : 0;
	struct filter filter = {0};
	double begin;
	int err = 0;

	if (calls <= 0 || (strcmp(argv[1], "filter") != 0 && strcmp(argv[1], "none") != 0)) {
		fprintf(stderr, "usage: getpid_loop filter|none CALLS\n");
		return 2;
	}
	if (strcmp(argv[1], "filter") == 0) {
		err = filter_build(&filter);
		err = err ? err : filter_install(&filter, true); /* the descriptor stays open, as an owner's would */
		filter_finish(&filter);
	}
	if (err < 0) {
		fprintf(stderr, "no filter: %s\n", strerror(-err));
		return 1;
	}
	begin = cpu_ns();
	for (long i = 0; i < calls; i++)
		syscall(SYS_getpid);
	printf("%.2f\n", (cpu_ns() - begin) / (double)calls);
	return 0;
}
