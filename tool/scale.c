/* scale: the verb. More workers, or fewer. */
#include "client.h"
#include "tool.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "3", "max", "+1", "-2". 0 or EXIT_USAGE after a complaint. */
static int make_request(const char *text, char *request, size_t size)
{
	int sign = text[0] == '+' ? 1 : text[0] == '-' ? -1 : 0;
	uint64_t count = 0;

	if (strcmp(text, "max") != 0 && parse_number(text + (sign != 0), 1024, &count) < 0)
		return complain("scale %s: it must be a number of workers, +N, -N or max, at most 1024", text);
	if (strcmp(text, "max") == 0)
		snprintf(request, size, "{\"request\":\"scale\",\"workers\":\"max\"}");
	else if (sign)
		snprintf(request, size, "{\"request\":\"scale\",\"add\":%d}", sign * (int)count);
	else
		snprintf(request, size, "{\"request\":\"scale\",\"workers\":%d}", (int)count);
	return 0;
}

static int scale_verb(int argc, char **argv)
{
	struct channel channel;
	json_t *answer;
	char request[80];
	long long now;
	int status;

	/* No options: "-1" is a number here. */
	if (argc != 3)
		return complain("scale: which app, and how many workers? For example: umbel scale app +1");
	if (!is_name(argv[1]))
		return complain("'%s' is no name of an app: letters, digits, _ . -", argv[1]);
	status = make_request(argv[2], request, sizeof(request));
	status = status ? status : client_ask_app(argv[1], request, &channel, &answer);
	if (status)
		return status;
	now = json_integer_value(json_object_get(answer, "workers"));
	printf("%s: %lld worker%s, %lld before\n", argv[1], now, plural(now),
	       (long long)json_integer_value(json_object_get(answer, "was")));
	json_decref(answer);
	channel_close(&channel);
	return EXIT_DONE;
}

const struct verb verb_scale = {"scale", scale_verb, "scale NAME N|+N|-N|max",
				"more workers, or fewer: those drain"};
