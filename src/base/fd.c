#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(fd_steal(fd));
	errno = saved;
}

void fd_close_all(const int *fds, size_t count)
{
	for (size_t i = 0, run; i < count; i += run) {
		for (run = 1; i + run < count && fds[i + run] == fds[i] + (int)run; run++)
			;
		if (run == 1)
			close(fds[i]);
		else
			close_range((unsigned)fds[i], (unsigned)fds[i] + (unsigned)run - 1, 0);
	}
}

int fd_fill_standard(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) /* the lowest: fd */
			return -errno;
	return 0;
}

bool fd_is_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_NONBLOCK);
}

int fd_set_nonblocking(int fd, bool on)
{
	int value = on;

	return ioctl(fd, FIONBIO, &value) < 0 ? -errno : 0;
}

int fd_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -1; /* the directory's own */

	if (!dir)
		return -1;
	for (const struct dirent *e; (e = readdir(dir));)
		count += e->d_name[0] != '.';
	closedir(dir);
	return count;
}
