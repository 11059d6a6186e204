/* commands: what a driver obeys, a JSON array on each line of stdin: reads it and calls what does it.
 * "setup" and "fork" are done in settings.c, what concerns descriptors in sockets.c. */
#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int send_json(struct driver *d, struct umbel_worker *w, json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	int err = umbel_send(d->umbel, w, text, strlen(text), -1);

	free(text);
	return err;
}

static void show(const struct driver *d, uint32_t id)
{
	struct umbel_worker *w = umbel_worker(d->umbel, id);

	events_say(json_pack("[si{sbsbsb}]", "show", (int)id,
			     "connected", w && umbel_worker_connected(w),
			     "dead", !w || umbel_worker_state(w) == UMBEL_STATE_DEAD,
			     "exitedAfterDisconnect",
			     w ? umbel_worker_asked(w) : d->asked[id % MAX_WORKERS]));
}

static void list(const struct driver *d)
{
	json_t *ids = json_array();

	for (uint32_t id = 0; umbel_next(d->umbel, id);) {
		id = umbel_worker_id(umbel_next(d->umbel, id));
		json_array_append_new(ids, json_integer(id));
	}
	events_say(json_pack("[so]", "workers", ids));
}

static int disconnect(struct driver *d, struct umbel_worker *w)
{
	if (!w)
		events_watch_empty(d);
	return umbel_disconnect(d->umbel, w);
}

/* False: to quit. */
static bool obey(struct driver *d, const char *line)
{
	json_t *command = json_loads(line, JSON_ALLOW_NUL, NULL);
	const char *verb = json_string_value(json_array_get(command, 0));
	json_t *first = json_array_get(command, 1), *second = json_array_get(command, 2);
	uint32_t id = (uint32_t)json_integer_value(first);
	struct umbel_worker *w = umbel_worker(d->umbel, id);
	bool goes_on = verb && strcmp(verb, "quit") != 0;
	int err = 0;

	if (!goes_on)
		; /* the caller's */
	else if (strcmp(verb, "setup") == 0)
		err = settings_setup(d, first);
	else if (strcmp(verb, "fork") == 0)
		err = settings_fork(d, first);
	else if (strcmp(verb, "show") == 0)
		show(d, id);
	else if (strcmp(verb, "workers") == 0)
		list(d);
	else if (strcmp(verb, "take") == 0)
		snprintf(d->take, sizeof(d->take), "%s", json_string_value(first));
	else if (strcmp(verb, "release") == 0)
		sockets_release(d);
	else if (strcmp(verb, "exit") == 0)
		_exit((int)json_integer_value(first));
	else if (strcmp(verb, "throw") == 0)
		abort();
	else if (id > 0 && !w)
		/* Nothing to do, for Node too. */
		err = strcmp(verb, "disconnect") == 0 || strcmp(verb, "kill") == 0 ? 0 : -EPIPE;
	else if (strcmp(verb, "disconnect") == 0)
		err = disconnect(d, w);
	else if (strcmp(verb, "send") == 0)
		err = send_json(d, w, second);
	else if (strcmp(verb, "hand") == 0)
		err = sockets_hand(d, id, (int)json_integer_value(second),
				   json_array_get(command, 3));
	else if (strcmp(verb, "pipe") == 0)
		err = sockets_write_pipe(w, (int)json_integer_value(second),
					 json_string_value(json_array_get(command, 3)));
	else if (strcmp(verb, "give") == 0)
		err = sockets_give(d, w, json_string_value(second), json_array_get(command, 3));
	else if (strcmp(verb, "kill") == 0)
		err = umbel_kill(w, settings_signal(json_string_value(second)));
	else
		err = -EINVAL;
	if (err < 0) {
		fprintf(stderr, "driver: %s: %s\n", line, umbel_reason(d->umbel));
		events_say_error(id, err);
	}
	json_decref(command);
	return goes_on;
}

bool commands_read(struct driver *d)
{
	ssize_t n = read(STDIN_FILENO, d->input + d->input_len, sizeof(d->input) - 1 - d->input_len);
	bool goes_on = n > 0;
	char *end;

	if (n > 0)
		d->input_len += (size_t)n;
	d->input[d->input_len] = '\0';
	while (goes_on && (end = strchr(d->input, '\n'))) {
		*end++ = '\0';
		goes_on = obey(d, d->input);
		d->input_len -= (size_t)(end - d->input);
		memmove(d->input, end, d->input_len + 1);
	}
	return goes_on;
}
