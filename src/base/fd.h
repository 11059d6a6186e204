/* fd: closing a descriptor and forgetting its number are one act. */
#ifndef UMBEL_BASE_FD_H
#define UMBEL_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>

static inline int fd_steal(int *fd)
{
	int given = *fd;

	*fd = -1;
	return given;
}

void fd_close(int *fd); /* -1 is fine; sets -1; keeps errno */

/* Closes them all; a run of neighbouring numbers costs one system call (close_range(2)). */
void fd_close_all(const int *fds, size_t count);

/* /dev/null where 0, 1 or 2 is not open: else the next descriptor opened would be taken for it. 0 or -errno. */
int fd_fill_standard(void);

int fd_count(void); /* how many are open, by /proc; -1: not known */

bool fd_is_nonblocking(int fd);
int fd_set_nonblocking(int fd, bool on); /* one system call; 0 or -errno */

#endif
