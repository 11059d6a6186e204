/* reload: the verb. Asks for a new generation and shows how it comes up, until it serves or is undone. */
#include "client.h"
#include "tool.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct reload_options {
	uint64_t canary;
	uint32_t hold_ms;
	bool update_env, go_on, undo, any_other;
	json_t *env; /* NULL: none */
};

/* ---- options ---- */

enum { CANARY = 1, HOLD, ENV, UPDATE_ENV, CONTINUE, UNDO };

static int one_option(struct reload_options *o, int option, const char *value)
{
	o->any_other |= option != CONTINUE && option != UNDO;
	switch (option) {
	case CANARY:
		if (parse_number(value, 1024, &o->canary) < 0 || o->canary == 0)
			return complain("--canary %s: it must be a number of workers, 1 to 1024", value);
		return 0;
	case HOLD:
		if (parse_duration(value, &o->hold_ms) < 0)
			return complain("--hold %s: it must be a time such as 30s, 2m", value);
		return 0;
	case ENV:
		if (!strchr(value, '=') || value[0] == '=')
			return complain("--env %s: it must be NAME=VALUE", value);
		o->env = o->env ? o->env : json_array();
		if (json_array_append_new(o->env, json_string(value)) < 0)
			return complain("--env: it must be UTF-8");
		return 0;
	case UPDATE_ENV:
		o->update_env = true;
		return 0;
	case CONTINUE:
		o->go_on = true;
		return 0;
	default:
		o->undo = true;
		return 0;
	}
}

static int parse(int argc, char **argv, struct reload_options *o)
{
	static const struct option options[] = {
	    {"canary", required_argument, NULL, CANARY}, {"hold", required_argument, NULL, HOLD},
	    {"env", required_argument, NULL, ENV},       {"update-env", no_argument, NULL, UPDATE_ENV},
	    {"continue", no_argument, NULL, CONTINUE},   {"undo", no_argument, NULL, UNDO},
	    {NULL, 0, NULL, 0},
	};
	int option, status = 0;

	opterr = 0;
	while (!status && (option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (option == ':')
			return complain("reload: %s needs a value", argv[optind - 1]);
		if (option == '?')
			return complain("reload: unknown option %s; 'umbel help reload' lists them",
					argv[optind - 1]);
		status = one_option(o, option, optarg);
	}
	if (!status && o->go_on + o->undo + o->any_other > 1)
		return complain("reload: --continue and --undo go alone");
	return status ? status : parse_name(argc, argv);
}

/* ---- asking ---- */

static json_t *whole_environment(void)
{
	json_t *all = json_array(), *text;

	for (char **e = environ; *e; e++) {
		text = strchr(*e, '=') && **e != '=' ? json_string(*e) : NULL;
		if (text)
			json_array_append_new(all, text);
		else
			complain("reload: left out, because it is not UTF-8 or has no name: %.40s", *e);
	}
	return all;
}

static char *make_request(const struct reload_options *o)
{
	json_t *request;
	char *text;

	if (o->go_on || o->undo)
		request = json_pack("{ss sb}", "request", "reload_end", "undo", o->undo);
	else
		request = json_pack("{ss sI sI}", "request", "reload", "canary",
				    (json_int_t)(o->hold_ms && !o->canary ? 1 : o->canary), "hold_ms",
				    (json_int_t)o->hold_ms);
	if (o->env)
		json_object_set(request, "env", o->env);
	if (o->update_env)
		json_object_set_new(request, "environment", whole_environment());
	text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	return text;
}

/* ---- what happens ---- */

static long long number_of(const json_t *event, const char *member)
{
	return json_integer_value(json_object_get(event, member));
}

static void print_undone(const json_t *event)
{
	const json_t *line;
	size_t i;

	fprintf(stderr, "umbel: reload undone: %s\n", clean_text(event, "why"));
	json_array_foreach (json_object_get(event, "lines"), i, line)
		fprintf(stderr, "    %s\n", json_string_value(line));
}

static void print_event(const json_t *event)
{
	const char *name = clean_text(event, "event");
	long long slot = number_of(event, "slot"), pid = number_of(event, "pid");

	if (strcmp(name, "decision") == 0 && slot)
		printf("slot %lld: %s\n", slot, clean_text(event, "text"));
	else if (strcmp(name, "decision") == 0)
		printf("%s: %s\n", clean_text(event, "what"), clean_text(event, "text"));
	else if (strcmp(name, "fork") == 0)
		printf("slot %lld: pid %lld started\n", slot, pid);
	else if (strcmp(name, "ready") == 0)
		printf("slot %lld: pid %lld is ready\n", slot, pid);
	else if (strcmp(name, "exit") == 0)
		printf("slot %lld: pid %lld %s\n", slot, pid, clean_text(event, "text"));
	fflush(stdout);
}

/* One line of the app. -1: go on; else the exit status. */
static int on_line(const json_t *line, long long *generation, const char *name)
{
	if (json_is_true(json_object_get(line, "waiting"))) {
		puts("another reload is running: this one waits for it");
		fflush(stdout);
		return -1;
	}
	if (json_is_false(json_object_get(line, "ok"))) {
		complain("%s: %s", name, clean_text(line, "error"));
		return EXIT_FAILED;
	}
	if (json_is_true(json_object_get(line, "ok"))) {
		*generation = number_of(line, "generation");
		return -1;
	}
	if (strcmp(clean_text(line, "event"), "reloaded") != 0 || number_of(line, "generation") != *generation) {
		print_event(line);
		return -1;
	}
	if (number_of(line, "error") == 0) {
		printf("reload: %s\n", clean_text(line, "why"));
		return EXIT_DONE;
	}
	print_undone(line);
	return EXIT_UNDONE;
}

static int follow(struct channel *channel, json_t *first, const char *name)
{
	long long generation = 0;
	int status = on_line(first, &generation, name);
	json_t *line;

	while (status < 0) {
		line = client_next(channel);
		if (!line) {
			complain("%s has ended before the reload was over", name);
			return EXIT_FAILED;
		}
		status = on_line(line, &generation, name);
		json_decref(line);
	}
	return status;
}

static int reload_verb(int argc, char **argv)
{
	struct reload_options o = {.env = NULL};
	struct channel channel;
	json_t *answer = NULL;
	char *request = NULL;
	int status = parse(argc, argv, &o);

	if (!status) {
		request = make_request(&o);
		status = client_ask_app(argv[optind], request, &channel, &answer);
	}
	free(request);
	json_decref(o.env);
	if (status)
		return status;
	status = follow(&channel, answer, argv[optind]);
	if (o.undo && status == EXIT_UNDONE)
		status = EXIT_DONE;
	json_decref(answer);
	channel_close(&channel);
	return status;
}

const struct verb verb_reload = {
    "reload", reload_verb, "reload NAME [--canary N] [--hold TIME] [--env NAME=VALUE]... [--update-env]",
    "replaces every worker by one started anew, successor first; undone when they do not come up (exit\n"
    "    status 4)\n"
    "    --canary N          only N first: they serve, their predecessors wait\n"
    "    --hold TIME         for so long, before the rest follows (without it: until --continue)\n"
    "    --env NAME=VALUE    changed in the environment of the new workers; may be repeated\n"
    "    --update-env        their environment is that of this command\n"
    "    --continue          alone: ends the hold of the reload that runs, and follows it\n"
    "    --undo              alone: undoes the reload that runs, and waits until it is"};
