/* Two processes that send each other numbered messages, each as fast as the other takes them, and look
 * whether all come, whole and in order.
 *
 *     stream COUNT BYTES MAX_MESSAGE MAX_QUEUE [EXEC ARG...]
 *
 * The worker speaks first, with one message. MAX_...: settings, 0 is the default. EXEC: the worker, else stream itself;
 * it is called with ARG... COUNT BYTES. Ends with 0 when both have got everything. */
#include "primary.h"

#include <errno.h>
#include <string.h>

static long count, bytes, limit /* may be sent */, sent, received, refused;
static char *text;
static struct umbel_worker *peer; /* NULL in the worker: the primary */
static bool failed;

static void wrong(const char *what, int err)
{
	printf("%s: %s at %ld: %s\n", peer ? "primary" : "worker", what, sent, strerror(-err));
	fflush(stdout);
	failed = true;
}

/* {"n":7,"x":"zzzz"}, `bytes` long. */
static size_t compose(long n)
{
	int head = sprintf(text, "{\"n\":%ld,\"x\":\"", n);

	memset(text + head, 'a' + (int)(n % 26), (size_t)(bytes - head - 2));
	memcpy(text + bytes - 2, "\"}", 2);
	return (size_t)bytes;
}

static void send_more(struct umbel *u)
{
	int err = 0;

	for (; sent < limit && !err; sent += !err)
		err = umbel_send(u, peer, text, compose(sent), -1);
	if (err == -EAGAIN)
		refused++;
	else if (err)
		wrong("send", err);
	if (failed)
		umbel_stop(u);
}

static void on_writable(struct umbel *u, const struct umbel_event *e, void *data)
{
	send_more(u);
}

static void on_message(struct umbel *u, const struct umbel_event *e, void *data)
{
	if (limit < count) { /* the first from there */
		peer = e->worker;
		limit = count;
		send_more(u);
	}
	if (e->message.len != compose(received) || memcmp(e->message.json, text, e->message.len) != 0) {
		wrong("a wrong message", 0);
		umbel_stop(u);
	}
	if (++received == count && !e->worker && sent == count)
		umbel_stop(u);
}

static void on_exit_event(struct umbel *u, const struct umbel_event *e, void *data)
{
	if (e->exit.code != 0)
		failed = true;
	umbel_stop(u);
}

static int start(struct umbel *u, char **argv)
{
	struct umbel_settings s = UMBEL_SETTINGS;
	char *args[8] = {NULL};
	int n = 0;

	if (atol(argv[3]))
		s.max_message = (size_t)atol(argv[3]);
	if (atol(argv[4]))
		s.max_queue = (size_t)atol(argv[4]);
	if (argv[5]) {
		s.exec = argv[5];
		s.argv = args;
		for (char **a = argv + 5; *a && n < 5; a++)
			args[n++] = *a;
		args[n++] = argv[1];
		args[n++] = argv[2];
	}
	umbel_on(u, UMBEL_EXIT, on_exit_event, NULL);
	n = umbel_setup(u, &s);
	return n ? n : umbel_fork(u, NULL, NULL);
}

int main(int argc, char **argv)
{
	int before = 0, err;
	struct umbel *u = NULL;
	bool is_primary;

	count = atol(argv[1]);
	bytes = atol(argv[2]);
	text = malloc((size_t)bytes + 64);
	err = primary_open(argc, argv, &u, &before);
	if (err || !text)
		return 2;
	is_primary = umbel_is_primary(u);
	umbel_on(u, UMBEL_MESSAGE, on_message, NULL);
	umbel_on(u, UMBEL_WRITABLE, on_writable, NULL);
	if (is_primary) {
		err = start(u, argv);
	} else {
		limit = 1;
		send_more(u);
		limit = 0;
	}
	if (!err)
		err = umbel_run(u);
	printf("%s: %s, %ld sent, %ld received, %ld times full\n", is_primary ? "primary" : "worker",
	       err ? umbel_reason(u) : "over", sent, received, refused);
	umbel_close(u);
	free(text);
	if (is_primary)
		primary_report(before);
	return err || failed || sent < count || received < count;
}
