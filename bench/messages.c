/* messages: a primary and one worker that sends every message back. For each line on standard input,
 * a number, so many messages of 100 bytes go there and back, WINDOW at a time; then it prints "done".
 * messages.js is the same for Node. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <umbel.h>

enum { WINDOW = 64, BYTES = 100 };

struct bench {
	struct umbel *umbel;
	struct umbel_worker *worker;
	atomic_long ordered; /* by the reader of standard input */
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

static void on_woken(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct bench *b = data;

	b->to_send = b->to_come = atomic_load(&b->ordered);
	if (b->to_send == 0)
		umbel_stop(u);
	for (int i = 0; i < WINDOW; i++)
		send_one(b);
}

static void *read_orders(void *data)
{
	struct bench *b = data;
	char line[64];

	while (fgets(line, sizeof(line), stdin)) {
		atomic_store(&b->ordered, atol(line));
		umbel_wake(b->umbel);
	}
	atomic_store(&b->ordered, 0); /* the end */
	umbel_wake(b->umbel);
	return NULL;
}

static int run_primary(struct umbel *u)
{
	struct bench b = {.umbel = u};
	pthread_t reader;
	sigset_t set;
	int err;

	memset(b.text, 'x', BYTES);
	b.text[0] = b.text[BYTES - 1] = '"';
	umbel_on(u, UMBEL_MESSAGE, on_echo, &b);
	umbel_on(u, UMBEL_WOKEN, on_woken, &b);
	err = umbel_fork(u, NULL, &b.worker);
	if (err)
		return err;
	sigfillset(&set); /* signals are for umbel_run(), not for the reader */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&reader, NULL, read_orders, &b))
		return -EAGAIN;
	err = umbel_run(u);
	pthread_cancel(reader);
	pthread_join(reader, NULL);
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
