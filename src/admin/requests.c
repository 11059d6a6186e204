#include "admin/parts.h"
#include "private.h"
#include "wire/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct umbel *umbel_of(const struct client *c)
{
	return c->control->report->umbel;
}

static void send_ok(struct client *c)
{
	client_send(c, json_pack("{sb}", "ok", 1));
}

static void send_reason(struct client *c)
{
	client_refuse(c, umbel_reason(umbel_of(c)), "");
}

static void answer_status(struct client *c, const json_t *request)
{
	client_send(c, json_pack("{sb so}", "ok", 1, "status", report_status(c->control->report)));
}

static void answer_stop(struct client *c, const json_t *request)
{
	c->control->stop(json_is_true(json_object_get(request, "now")), c->control->data);
	send_ok(c);
}

static void answer_events(struct client *c, const json_t *request)
{
	c->wants_events = true;
	send_ok(c);
}

static void answer_why(struct client *c, const json_t *request)
{
	const json_t *slot = json_object_get(request, "slot");

	if (slot && !json_is_integer(slot)) {
		client_refuse(c, "why: \"slot\" must be a number", "");
		return;
	}
	client_send(c, json_pack("{sb so}", "ok", 1, "records",
				 history_list(c->control->history, (int)json_integer_value(slot))));
}

/* ---- scale ---- */

/* How many are wanted: {"workers":3}, {"workers":"max"}, {"add":-1}. False: it has been refused. */
static bool find_workers(struct client *c, const json_t *request, int *ret)
{
	const json_t *workers = json_object_get(request, "workers"), *add = json_object_get(request, "add");
	const char *word = json_string_value(workers);
	json_int_t change = json_integer_value(add), count;

	if (word && strcmp(word, "max") == 0) {
		*ret = umbel_parallelism();
		return true;
	}
	if (!json_is_integer(workers) && !json_is_integer(add)) {
		client_refuse(c, "scale: it needs \"workers\": a number or \"max\", or \"add\": a number", "");
		return false;
	}
	if (change < -1024 || change > 1024)
		change = 2048; /* refused, before it overflows */
	count = workers ? json_integer_value(workers) : private_wanted(umbel_of(c)) + change;
	if (count < 0 || count > 1024) {
		client_refuse(c, "scale: that would be fewer than 0 or more than 1024 workers", "");
		return false;
	}
	*ret = (int)count;
	return true;
}

static void answer_scale(struct client *c, const json_t *request)
{
	int was = private_wanted(umbel_of(c)), count;

	if (!find_workers(c, request, &count))
		return;
	if (umbel_scale(umbel_of(c), count) < 0) {
		send_reason(c);
		return;
	}
	c->control->report->scaled_to = count;
	client_send(c, json_pack("{sb si si}", "ok", 1, "workers", count, "was", was));
}

/* ---- reload ---- */

static void free_strings(char **strings)
{
	for (size_t i = 0; strings && strings[i]; i++)
		free(strings[i]);
	free(strings);
}

enum { MOST_STRINGS = 4096 };

/* An array of "NAME=value"; absent: NULL. False: it is something else, too many, or there is no memory. */
static bool read_strings(const json_t *array, char ***ret)
{
	size_t count = json_array_size(array), i;
	const json_t *each;
	char **strings;

	*ret = NULL;
	if (!array)
		return true;
	strings = json_is_array(array) && count <= MOST_STRINGS ? calloc(count + 1, sizeof(*strings)) : NULL;
	if (!strings)
		return false;
	json_array_foreach (array, i, each) {
		const char *text = json_string_value(each);

		strings[i] = text && text[0] != '=' && strchr(text, '=') ? strdup(text) : NULL;
		if (!strings[i]) {
			free_strings(strings);
			return false;
		}
	}
	*ret = strings;
	return true;
}

/* A number of 0 to most; absent: 0. */
static bool read_number(const json_t *request, const char *member, json_int_t most, json_int_t *ret)
{
	const json_t *value = json_object_get(request, member);

	*ret = json_integer_value(value);
	return !value || (json_is_integer(value) && *ret >= 0 && *ret <= most);
}

static void begin_reload(struct client *c, const json_t *request)
{
	json_int_t canary, hold_ms;
	char **base = NULL, **more = NULL;

	if (!read_number(request, "canary", 1024, &canary) ||
	    !read_number(request, "hold_ms", INT32_MAX, &hold_ms)) {
		client_refuse(c, "reload: \"canary\" must be 0 to 1024, \"hold_ms\" 0 to 2147483647", "");
	} else if (!read_strings(json_object_get(request, "environment"), &base) ||
		   !read_strings(json_object_get(request, "env"), &more)) {
		client_refuse(c, "reload: \"env\" and \"environment\" are lists of at most 4096 \"NAME=VALUE\"", "");
	} else if (private_reload(umbel_of(c), (unsigned)canary, (uint32_t)hold_ms, base, more) < 0) {
		send_reason(c);
	} else {
		struct umbel_reload_info info;

		private_reload_info(umbel_of(c), &info);
		client_send(c, json_pack("{sb sI}", "ok", 1, "generation", (json_int_t)info.generation));
		c->wants_events = true;
	}
	free_strings(base);
	free_strings(more);
}

static bool is_reloading(const struct client *c)
{
	struct umbel_reload_info info;

	private_reload_info(umbel_of(c), &info);
	return info.phase;
}

static void answer_reload(struct client *c, const json_t *request)
{
	if (!is_reloading(c)) {
		begin_reload(c, request);
	} else if (c->waiting) {
		client_refuse(c, "reload: one of yours is waiting already", "");
	} else {
		c->waiting = json_deep_copy(request);
		client_send(c, c->waiting ? json_pack("{sb sb}", "ok", 1, "waiting", 1) : NULL);
	}
}

void request_again(struct client *c)
{
	json_t *request = c->waiting;

	if (is_reloading(c))
		return;
	c->waiting = NULL;
	begin_reload(c, request);
	json_decref(request);
}

static void answer_reload_end(struct client *c, const json_t *request)
{
	struct umbel_reload_info info;

	private_reload_info(umbel_of(c), &info);
	if (umbel_reload_end(umbel_of(c), json_is_true(json_object_get(request, "undo"))) < 0) {
		send_reason(c);
		return;
	}
	c->wants_events = true;
	client_send(c, json_pack("{sb sI}", "ok", 1, "generation", (json_int_t)info.generation));
}

/* ---- all of them ---- */

static const struct {
	const char *name;
	void (*answer)(struct client *c, const json_t *request);
} requests[] = {
    {"status", answer_status}, {"stop", answer_stop},     {"events", answer_events},
    {"scale", answer_scale},   {"reload", answer_reload}, {"reload_end", answer_reload_end},
    {"why", answer_why},       {"policy", policies_answer},
};

static void refuse_unknown(struct client *c, const char *name)
{
	char known[160] = "";

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		strcat(known, i ? ", " : "unknown request; allowed are ");
		strcat(known, requests[i].name);
	}
	strcat(known, "; this was ");
	client_refuse(c, known, name);
}

void request_answer(struct client *c, const char *line, size_t len)
{
	struct json_top top;
	json_t *request = json_scan(line, len, &top) == 0 ? json_loadb(line, len, 0, NULL) : NULL;
	const char *name = json_string_value(json_object_get(request, "request"));
	size_t i = 0, count = sizeof(requests) / sizeof(requests[0]);

	while (name && i < count && strcmp(name, requests[i].name) != 0)
		i++;
	if (!name)
		client_refuse(c, "a request is one line such as {\"request\":\"status\"}", "");
	else if (i == count)
		refuse_unknown(c, name);
	else
		requests[i].answer(c, request);
	json_decref(request);
}
