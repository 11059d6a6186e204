/* dumps: whether the kernel answers sock_diag(7) here, has IPv6, and copies descriptors: for tests of what needs them. */
#ifndef UMBEL_TESTS_UNIT_DUMPS_H
#define UMBEL_TESTS_UNIT_DUMPS_H

#include "base/fd.h"
#include "base/proc.h"
#include "net/diag.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const char *dumps_missing; /* why there are none here */
static bool has_ipv6;

static inline int dumps_set_up(void **state)
{
	static char why[128];
	struct diag_clients clients;
	struct diag *d = NULL;
	int err = diag_open(&d), fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 one = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

	has_ipv6 = fd >= 0 && bind(fd, (struct sockaddr *)&one, sizeof(one)) == 0;
	fd_close(&fd);
	err = err ? err : diag_clients(d, 1, false, &clients);
	diag_close(d);
	if (err) {
		snprintf(why, sizeof(why), "no sock_diag here: %s", strerror(-err));
		dumps_missing = why;
	}
	return 0;
}

static inline void need_dumps(void)
{
	if (!dumps_missing)
		return;
	print_message("skipped: %s\n", dumps_missing);
	skip();
}

static inline void need_ipv6(void)
{
	if (has_ipv6)
		return;
	print_message("skipped: no IPv6 here\n");
	skip();
}

/* Valgrind knows no pidfd_getfd(2), containers may forbid it. */
static inline void need_copies(void)
{
	int fd = proc_copy_fd(getpid(), getpid(), STDIN_FILENO), err = fd < 0 && fd != -EBADF ? -fd : 0;

	fd_close(&fd);
	if (!err)
		return;
	print_message("skipped: pidfd_getfd: %s\n", strerror(err));
	skip();
}

#endif
