/* stop: the verb. Asks an app to stop and waits until it has. */
#include "client.h"
#include "tool.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

static int stop_verb(int argc, char **argv)
{
	static const struct option options[] = {{"now", no_argument, NULL, 'n'}, {NULL, 0, NULL, 0}};
	struct channel channel;
	json_t *answer;
	int now = 0, status = parse_flags(argc, argv, options, &now, 1, 0);

	if (status)
		return status;
	status = client_ask_app(argv[optind],
				now ? "{\"request\":\"stop\",\"now\":true}" : "{\"request\":\"stop\"}",
				&channel, &answer);
	if (status)
		return status;
	json_decref(answer);
	client_wait_end(&channel);
	channel_close(&channel);
	printf("%s: stopped\n", argv[optind]);
	return EXIT_DONE;
}

const struct verb verb_stop = {"stop", stop_verb, "stop NAME [--now]",
			       "stops an app: workers finish what they have; --now: at once"};
