/* list: the verb. Every app of ours that runs. */
#include "client.h"
#include "tool.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct listing {
	const struct runtime *rt;
	json_t *apps;
};

static json_t *summary_of(const json_t *status)
{
	const json_t *workers = json_object_get(status, "workers"), *w;
	size_t i;
	int ready = 0;

	json_array_foreach (workers, i, w)
		ready += strcmp(json_string_value(json_object_get(w, "state")), "ready") == 0;
	return json_pack("{sO sO sO sO sO s{si si}}", "name", json_object_get(status, "name"), "pid",
			 json_object_get(status, "pid"), "state", json_object_get(status, "state"),
			 "policy", json_object_get(status, "policy"), "generation",
			 json_object_get(status, "generation"), "workers", "ready", ready, "total",
			 (int)json_array_size(workers));
}

static void add_app(const char *name, void *data)
{
	struct listing *l = data;
	struct channel channel;
	json_t *answer;
	int fd = runtime_connect(l->rt, name);

	if (fd < 0)
		return; /* left from one that was killed */
	close(fd);
	if (client_ask(l->rt, name, "{\"request\":\"status\"}", &channel, &answer) != 0)
		return;
	json_array_append_new(l->apps, summary_of(json_object_get(answer, "status")));
	json_decref(answer);
	channel_close(&channel);
}

static void print_table(const json_t *apps)
{
	const json_t *app;
	size_t i;

	if (json_array_size(apps) == 0) {
		puts("no app is running; for example: umbel run -- node app.js");
		return;
	}
	printf("%-20s %8s  %-9s %-7s %s\n", "NAME", "PID", "STATE", "POLICY", "READY");
	json_array_foreach (apps, i, app) {
		const json_t *workers = json_object_get(app, "workers");

		printf("%-20s %8lld  %-9s %-7s %lld/%lld\n", clean_text(app, "name"),
		       (long long)json_integer_value(json_object_get(app, "pid")), clean_text(app, "state"),
		       clean_text(app, "policy"),
		       (long long)json_integer_value(json_object_get(workers, "ready")),
		       (long long)json_integer_value(json_object_get(workers, "total")));
	}
}

static int list_verb(int argc, char **argv)
{
	struct runtime rt;
	struct listing l = {&rt, NULL};
	int json = 0, status = parse_flags(argc, argv, json_flag, &json, 0, 0);

	status = status ? status : client_runtime(&rt);
	if (status)
		return status;
	l.apps = json_array();
	if (rt.dir >= 0)
		runtime_each(&rt, add_app, &l);
	if (json) {
		json_dumpf(l.apps, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_table(l.apps);
	}
	json_decref(l.apps);
	runtime_close(&rt);
	return EXIT_DONE;
}

const struct verb verb_list = {"list", list_verb, "list [--json]", "shows the apps that run"};
