/* messages: a primary and one worker that sends every message back. For each line on standard input,
 * a number, so many messages of 100 bytes go there and back, WINDOW at a time; then it prints "done".
 * messages.js is the same for Node. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <umbel.h>
#include <unistd.h>

enum { WINDOW = 64, BYTES = 100 };

struct bench {
	struct umbel *umbel;
	struct umbel_worker *worker;
	long to_send, to_come;
	char text[BYTES + 1];
};

static void send_one(struct bench *b)
{
	if (b->to_send == 0)
		return;
	b->to_send--;
	if (umbel_send(b->umbel, b->worker, b->text, BYTES, -1) < 0) {
		fprintf(stderr, "messages: %s\n", umbel_reason(b->umbel));
		exit(1);
	}
}

static void on_echo(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct bench *b = data;

	if (e->message.len != BYTES) { /* the worker's first word: it is there */
		printf("listens\n");
		fflush(stdout);
		return;
	}
	send_one(b);
	if (--b->to_come == 0) {
		printf("done\n");
		fflush(stdout);
	}
}

static void on_failed(struct umbel *u, const struct umbel_event *e, void *data)
{
	fprintf(stderr, "messages: %s\n", e->result.why);
	exit(1);
}

static int run_primary(struct umbel *u)
{
	struct bench b = {.umbel = u};
	struct pollfd fds[] = {{.fd = umbel_fd(u), .events = POLLIN}, {.fd = 0, .events = POLLIN}};
	char line[64];
	ssize_t n;
	int err;

	memset(b.text, 'x', BYTES);
	b.text[0] = b.text[BYTES - 1] = '"';
	umbel_on(u, UMBEL_MESSAGE, on_echo, &b);
	umbel_on(u, UMBEL_FAILED, on_failed, NULL);
	err = umbel_fork(u, NULL, &b.worker);
	while (!err) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents) {
			n = read(0, line, sizeof(line) - 1);
			if (n <= 0)
				break; /* the end */
			line[n] = '\0';
			b.to_send = b.to_come = atol(line);
			for (int i = 0; i < WINDOW; i++)
				send_one(&b);
		}
		if (umbel_dispatch(u) < 0)
			err = -1;
	}
	return err;
}

static void on_message(struct umbel *u, const struct umbel_event *e, void *data)
{
	umbel_send(u, NULL, e->message.json, e->message.len, -1);
}

int main(int argc, char **argv)
{
	struct umbel *u;
	int err = umbel_open(argc, argv, &u);

	if (err) {
		fprintf(stderr, "messages: %s\n", umbel_reason(NULL));
		return 1;
	}
	if (umbel_is_primary(u)) {
		err = run_primary(u);
	} else {
		umbel_on(u, UMBEL_MESSAGE, on_message, NULL);
		err = umbel_send(u, NULL, "\"here\"", 6, -1);
		err = err ? err : umbel_run(u);
	}
	if (err)
		fprintf(stderr, "messages: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
