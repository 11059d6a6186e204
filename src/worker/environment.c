#include "worker/environment.h"

#include "base/fd.h"
#include "worker/self.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

long environment_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long value;

	if (!text || !*text)
		return -1;
	errno = 0;
	value = strtol(text, &end, 10);
	return errno || *end || value < 0 || value > INT_MAX ? -1 : value;
}

static bool is_node_worker(void)
{
	/* The first alone is a plain child_process.fork(). */
	return getenv("NODE_CHANNEL_FD") && getenv("NODE_UNIQUE_ID");
}

bool self_is_worker(void)
{
	return getenv("UMBEL_CHANNEL") || is_node_worker();
}

/* A Node primary may have put the channel where a standard stream belongs (its process.execve() keeps
 * only those). The program gets /dev/null there: what it prints would end the primary. */
static int move_away(int *channel)
{
	int low = *channel, null, moved;

	if (low > STDERR_FILENO)
		return fcntl(low, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	moved = fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (null < 0 || moved < 0 || dup2(null, low) < 0) {
		fd_close(&null);
		fd_close(&moved);
		return -errno;
	}
	fd_close(&null);
	*channel = moved;
	return 0;
}

int environment_channel(struct reason *reason, int *ret)
{
	const char *name = getenv("UMBEL_CHANNEL") ? "UMBEL_CHANNEL" : "NODE_CHANNEL_FD";
	const char *mode = getenv("NODE_CHANNEL_SERIALIZATION_MODE");
	int fd = (int)environment_number(name), type = 0, err;
	socklen_t size = sizeof(type);

	if (mode && strcmp(mode, "json") != 0)
		return reason_set(reason, -EPROTO, "the primary speaks the serialization '%s', libumbel "
				  "only 'json': set serialization: 'json' in cluster.setupPrimary()", mode);
	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
		return reason_set(reason, -EPROTO, "%s=%s is no open stream socket", name, getenv(name));
	err = move_away(&fd);
	if (err)
		return reason_set(reason, err, "cannot keep the channel: %s", strerror(-err));
	*ret = fd;
	return 0;
}

/* Of umbel's primary we see the channel's end, and drain: its death is not to kill us. The shim is what a
 * Node primary takes for us (src/node/shim.cjs): who kills it means us, and it cannot tell us. */
int environment_follow(struct reason *reason)
{
	long shim = environment_number("UMBEL_SHIM");

	prctl(PR_SET_PDEATHSIG, shim > 0 ? SIGKILL : 0);
	if (shim > 0 && getppid() != shim) /* it died before, or somebody is between us */
		return reason_set(reason, -EPROTO, "the parent of this worker is not the shim (a script "
				  "in between has to exec the program)");
	return 0;
}

void environment_forget(void)
{
	unsetenv("UMBEL_CHANNEL");
	unsetenv("UMBEL_SHIM");
	unsetenv("NODE_CHANNEL_FD");
	unsetenv("NODE_UNIQUE_ID");
	unsetenv("NODE_CHANNEL_SERIALIZATION_MODE");
}
