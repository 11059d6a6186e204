/* why: the verb. What has happened to an app, or to one of its slots, and on what grounds. */
#include "client.h"
#include "tool.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void print_head(const json_t *record)
{
	long long ms = json_integer_value(json_object_get(record, "time_ms"));
	long long slot = json_integer_value(json_object_get(record, "slot"));
	time_t seconds = (time_t)(ms / 1000);
	struct tm when;
	char clock[32];

	localtime_r(&seconds, &when);
	strftime(clock, sizeof(clock), "%F %T", &when);
	printf("%s.%03lld  ", clock, ms % 1000);
	if (slot)
		printf("slot %lld  ", slot);
}

static void print_exit(const json_t *record)
{
	long long handed = json_integer_value(json_object_get(record, "handed"));

	printf("pid %lld, generation %lld, %s; %s%s; it was handed %lld connection%s\n",
	       (long long)json_integer_value(json_object_get(record, "pid")),
	       (long long)json_integer_value(json_object_get(record, "generation")),
	       clean_text(record, "text"),
	       json_is_true(json_object_get(record, "asked")) ? "it was asked to" : "nobody here asked it to",
	       json_is_true(json_object_get(record, "was_ready")) ? "" : "; it was never ready",
	       handed, plural(handed));
}

static void print_record(const json_t *record)
{
	const char *event = clean_text(record, "event");
	const json_t *line;
	size_t i;

	print_head(record);
	if (strcmp(event, "exit") == 0)
		print_exit(record);
	else if (strcmp(event, "reloaded") == 0)
		printf("reload%s: %s\n", json_integer_value(json_object_get(record, "error")) ? " undone" : "",
		       clean_text(record, "why"));
	else
		printf("%s: %s\n", event[0] == 'f' ? "failed" : clean_text(record, "what"),
		       event[0] == 'f' ? clean_text(record, "why") : clean_text(record, "text"));
	json_array_foreach (json_object_get(record, "lines"), i, line)
		printf("    %s\n", json_string_value(line));
}

static int ask(const char *name, const char *slot, json_t **ret)
{
	struct channel channel;
	char request[64] = "{\"request\":\"why\"}";
	uint64_t number;
	int status;

	if (slot && (parse_number(slot, 1024, &number) < 0 || number == 0))
		return complain("why: '%s' is no slot; they are numbered from 1", slot);
	if (slot)
		snprintf(request, sizeof(request), "{\"request\":\"why\",\"slot\":%d}", (int)number);
	status = client_ask_app(name, request, &channel, ret);
	if (!status)
		channel_close(&channel);
	return status;
}

static int why_verb(int argc, char **argv)
{
	const json_t *records, *record;
	json_t *answer;
	size_t i;
	int json = 0, status = parse_flags(argc, argv, json_flag, &json, 1, 1);

	status = status ? status : ask(argv[optind], argv[optind + 1], &answer);
	if (status)
		return status;
	records = json_object_get(answer, "records");
	if (json) {
		json_dumpf(records, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		json_array_foreach (records, i, record)
			print_record(record);
		if (json_array_size(records) == 0)
			puts("nothing has happened: no worker has ended");
	}
	json_decref(answer);
	return EXIT_DONE;
}

const struct verb verb_why = {"why", why_verb, "why NAME [SLOT] [--json]",
			      "shows deaths, reloads and decisions, and on what grounds"};
