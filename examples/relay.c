/* relay: a primary that runs any program and passes what one worker says on to all, also to those that come
 * later. All are told in the same order, so that they agree in the end. For instance a Node app with
 *
 *     process.on('message', (m) => { value = m.value; });     // somebody has set it, perhaps we
 *     process.send({ value: 'blue' });
 *
 *     relay WORKERS PROGRAM [ARGS]     relay 2 node app.js */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <umbel.h>

static char *last; /* what was said last, for those that come later */
static size_t last_len;

static void on_message(struct umbel *u, const struct umbel_event *e, void *data)
{
	char *copy = malloc(e->message.len);

	if (!copy)
		return;
	memcpy(copy, e->message.json, e->message.len);
	free(last);
	last = copy;
	last_len = e->message.len;
	umbel_send(u, NULL, last, last_len, -1);
}

/* Not earlier: what it is told before it listens Node drops. */
static void on_ready(struct umbel *u, const struct umbel_event *e, void *data)
{
	if (last && umbel_send(u, e->worker, last, last_len, -1) < 0)
		fprintf(stderr, "relay: worker %u was not told: %s\n", umbel_worker_id(e->worker), umbel_reason(u));
}

int main(int argc, char **argv)
{
	struct umbel_settings settings = UMBEL_SETTINGS;
	struct umbel *u = NULL;
	int err;

	if (argc < 3) {
		fprintf(stderr, "usage: relay WORKERS PROGRAM [ARGS]\n");
		return 2;
	}
	err = umbel_open(argc, argv, &u);
	settings.exec = argv[2];
	settings.argv = argv + 2;
	if (!err)
		err = umbel_setup(u, &settings);
	if (!err) {
		umbel_on(u, UMBEL_MESSAGE, on_message, NULL);
		umbel_on(u, UMBEL_READY, on_ready, NULL);
		err = umbel_scale(u, atoi(argv[1]));
	}
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "relay: %s\n", umbel_reason(u));
	umbel_close(u);
	free(last);
	return err != 0;
}
