#include "client.h"

#include "base/fd.h"
#include "tool.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

enum { ANSWER_MS = 10000, LAST_MS = 5000, MAX_ANSWER = 16 << 20 };

int client_runtime(struct runtime *rt)
{
	int err = runtime_open(rt, false);

	if (err && err != -ENOENT) {
		complain("%s: %s", rt->path, err == -EPERM ? "not ours, or others may write it"
							   : strerror(-err));
		return EXIT_FAILED;
	}
	return 0;
}

/* The next line of the answer, waited for so long (-1: for ever). 1, 0: end, -errno. */
static int read_line(struct channel *c, int ms, char **line, size_t *len)
{
	for (;;) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		int r = channel_next_line(c, line, len);

		if (r != 0)
			return r;
		r = poll(&p, 1, ms);
		if (r == 0)
			return -ETIMEDOUT;
		r = r < 0 ? -errno : channel_read(c);
		if (r == 0 || (r < 0 && r != -EAGAIN && r != -EINTR))
			return r;
	}
}

static json_t *exchange(struct channel *c, const char *request, int *err)
{
	char *line;
	size_t len;
	json_t *answer;

	*err = channel_send(c, request, strlen(request), -1, 0);
	if (!*err)
		*err = channel_flush(c);
	if (!*err)
		*err = read_line(c, ANSWER_MS, &line, &len);
	if (*err != 1)
		return NULL;
	answer = json_loadb(line, len, 0, NULL);
	*err = answer ? 0 : -EPROTO;
	return answer;
}

int client_ask(const struct runtime *rt, const char *name, const char *request,
	       struct channel *ret_channel, json_t **ret)
{
	json_t *answer;
	int fd = rt->dir < 0 ? -ENOENT : runtime_connect(rt, name), err;

	if (fd == -ENOENT) {
		complain("no app '%s' is running; 'umbel list' shows those that are", name);
		return EXIT_NO_APP;
	}
	if (fd < 0) {
		complain("%s: %s", name, strerror(-fd));
		return EXIT_FAILED;
	}
	channel_open(ret_channel, fd, MAX_ANSWER, MAX_ANSWER);
	answer = exchange(ret_channel, request, &err);
	if (answer && json_is_true(json_object_get(answer, "ok"))) {
		*ret = answer;
		return 0;
	}
	channel_close(ret_channel);
	if (answer)
		complain("%s: %s", name, json_string_value(json_object_get(answer, "error")));
	else
		complain("%s does not answer: %s", name, err ? strerror(-err) : "it has just ended");
	json_decref(answer);
	return EXIT_FAILED;
}

int client_ask_app(const char *name, const char *request, struct channel *ret_channel, json_t **ret)
{
	struct runtime rt;
	int status = client_runtime(&rt);

	if (status)
		return status;
	status = client_ask(&rt, name, request, ret_channel, ret);
	runtime_close(&rt);
	return status;
}

json_t *client_next(struct channel *c)
{
	char *line;
	size_t len;

	return read_line(c, -1, &line, &len) == 1 ? json_loadb(line, len, 0, NULL) : NULL;
}

/* -1: it is of another pid namespace. */
static int open_process_behind(int socket)
{
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0)
		return -1;
	return pidfd_open(peer.pid, 0);
}

void client_wait_end(struct channel *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN}, process = {.events = POLLIN};
	char *line;
	size_t len;
	int r;

	process.fd = open_process_behind(c->fd);
	do {
		poll(&p, 1, -1);
		r = channel_read(c);
		while (r > 0 && channel_next_line(c, &line, &len) == 1)
			;
	} while (r > 0 || r == -EAGAIN);
	/* Its name is free when it has gone, a moment later. */
	if (process.fd >= 0)
		poll(&process, 1, LAST_MS);
	fd_close(&process.fd);
}
