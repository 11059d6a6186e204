/* relay: a primary that runs any program and passes what one worker says on to the others, also to those that
 * come later: a value that one sets, all know a moment later. For instance a Node app with
 *
 *     process.on('message', (m) => { value = m.value; });     // another has set it
 *     process.send({ value });                                // we have set it
 *
 *     relay WORKERS PROGRAM [ARGS]     relay 2 node app.js */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <umbel.h>

static char *last; /* what was said last, for those that come later */
static size_t last_len;

static void tell(struct umbel *u, struct umbel_worker *w)
{
	if (umbel_worker_connected(w) && umbel_send(u, w, last, last_len, -1) < 0)
		fprintf(stderr, "relay: worker %u was not told: %s\n", umbel_worker_id(w), umbel_reason(u));
}

static void on_message(struct umbel *u, const struct umbel_event *e, void *data)
{
	char *copy = malloc(e->message.len);

	if (!copy)
		return;
	memcpy(copy, e->message.json, e->message.len);
	free(last);
	last = copy;
	last_len = e->message.len;
	for (struct umbel_worker *w = umbel_next(u, 0); w; w = umbel_next(u, umbel_worker_id(w)))
		if (w != e->worker && umbel_worker_state(w) != UMBEL_STATE_STARTING)
			tell(u, w);
}

/* Not earlier: before it listens Node drops what it is told. */
static void on_ready(struct umbel *u, const struct umbel_event *e, void *data)
{
	if (last)
		tell(u, e->worker);
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
