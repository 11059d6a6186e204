/* Descriptors in messages, both ways. Who gets {"take":"TEXT"} writes TEXT into the descriptor, a
 * {"drop":""} is not taken; both are answered with "done". The sender then prints what it can read
 * at the other end.
 *
 *     descriptors [EXEC ARG...]       EXEC: the worker, in Node; else this program */
#include "primary.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static int ours = -1; /* the end that stays here */
static int step;
static bool to_node;

static void send_fd(struct umbel *u, struct umbel_worker *to, const char *json, int fd)
{
	int err = umbel_send(u, to, json, strlen(json), fd);

	if (!err)
		return;
	printf("cannot send %s: %s\n", json, umbel_reason(u));
	close(fd); /* still ours */
}

static void send_one_of(struct umbel *u, struct umbel_worker *to, const char *json, const int ends[2])
{
	ours = ends[0];
	send_fd(u, to, json, ends[1]);
}

static void open_unix(int ends[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		abort();
}

static void open_tcp(int ends[2])
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(name);

	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (void *)&name, size) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (void *)&name, &size) < 0 ||
	    connect(ends[0], (void *)&name, size) < 0)
		abort();
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
}

/* All that comes until the other side has closed every copy. */
static void read_ours(const char *who)
{
	char text[64];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) && (n = read(ours, text + len, sizeof(text) - len)) > 0)
		len += (size_t)n;
	printf("%s read '%.*s'\n", who, (int)len, text);
	fflush(stdout);
	close(ours);
	ours = -1;
}

/* Whether the message is {"what":..., and then its text. */
static int is(const struct umbel_event *e, const char *what, const char **ret)
{
	size_t len = strlen(what);

	if (e->message.len < len + 8 || memcmp(e->message.json + 2, what, len) != 0)
		return 0;
	*ret = e->message.json + len + 5;
	return (int)(e->message.len - len - 7);
}

static bool take(struct umbel *u, const struct umbel_event *e)
{
	const char *text;
	int len = is(e, "take", &text), fd;

	if (len > 0) {
		fd = umbel_take_fd(e);
		if (fd < 0 || umbel_take_fd(e) != -1 || !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
			printf("a wrong descriptor: %d\n", fd);
		dprintf(fd, "%.*s", len, text);
		close(fd);
	}
	if (len > 0 || e->message.fd >= 0)
		umbel_send(u, e->worker, "\"done\"", 6, -1);
	return len > 0 || e->message.fd >= 0;
}

static void on_worker_message(struct umbel *u, const struct umbel_event *e, void *data)
{
	int ends[2];

	if (take(u, e))
		return;
	if (e->message.len == 9) { /* "now you" */
		open_unix(ends);
		send_one_of(u, NULL, "{\"take\":\"the primary was here\"}", ends);
		return;
	}
	read_ours("the worker");
	umbel_stop(u);
}

/* One step for each answer. */
static void on_primary_message(struct umbel *u, const struct umbel_event *e, void *data)
{
	int ends[2];

	if (take(u, e))
		return;
	if (ours >= 0)
		read_ours("the primary");
	switch (to_node ? 10 + step++ : step++) {
	case 0:
		open_unix(ends);
		send_one_of(u, e->worker, "{\"drop\":\"\"}", ends);
		break;
	case 1:
		if (pipe2(ends, O_CLOEXEC) < 0)
			abort();
		send_one_of(u, e->worker, "{\"take\":\"through a pipe\"}", ends);
		break;
	case 2:
		open_unix(ends);
		send_one_of(u, e->worker, "{\"take\":\"the worker was here\"}", ends);
		break;
	case 3:
		umbel_send(u, e->worker, "\"now you\"", 9, -1);
		break;
	case 10:
		send_fd(u, e->worker, "{\"take\":\"\"}", memfd_create("file", MFD_CLOEXEC));
		open_tcp(ends);
		send_one_of(u, e->worker, "{\"take\":\"node was here\"}", ends);
		break;
	case 11:
		open_tcp(ends);
		send_one_of(u, e->worker, "{\"back\":\"node and the primary were here\"}", ends);
		break;
	default:
		umbel_stop(u);
	}
}

static void on_exit_event(struct umbel *u, const struct umbel_event *e, void *data)
{
	primary_on_exit(u, e, data);
	umbel_stop(u);
}

static int start(struct umbel *u, char **argv)
{
	struct umbel_settings s = UMBEL_SETTINGS;

	to_node = argv[1];
	s.exec = argv[1];
	s.argv = argv[1] ? argv + 1 : NULL;
	umbel_on(u, UMBEL_MESSAGE, on_primary_message, NULL);
	umbel_on(u, UMBEL_EXIT, on_exit_event, NULL);
	return umbel_setup(u, &s) ? -1 : umbel_fork(u, NULL, NULL);
}

int main(int argc, char **argv)
{
	int before = 0, err;
	struct umbel *u = NULL;
	bool is_primary;

	err = primary_open(argc, argv, &u, &before);
	if (err)
		return 2;
	is_primary = umbel_is_primary(u);
	if (is_primary) {
		err = start(u, argv);
	} else {
		umbel_on(u, UMBEL_MESSAGE, on_worker_message, NULL);
		umbel_send(u, NULL, "\"ready\"", 7, -1);
	}
	if (!err)
		err = umbel_run(u);
	if (err)
		printf("descriptors: %s\n", umbel_reason(u));
	umbel_close(u);
	if (is_primary)
		primary_report(before);
	return err != 0;
}
