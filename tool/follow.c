/* follow: the verb `events`. What happens to an app from now on, one JSON line each. */
#include "client.h"
#include "tool.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

static int events_verb(int argc, char **argv)
{
	struct channel channel;
	json_t *line;
	int ignored = 0, status = parse_flags(argc, argv, json_flag, &ignored, 1, 0);

	status = status ? status : client_ask_app(argv[optind], "{\"request\":\"events\"}", &channel, &line);
	if (status)
		return status;
	json_decref(line);
	while ((line = client_next(&channel))) {
		json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
		putchar('\n');
		json_decref(line);
		if (fflush(stdout) != 0)
			break; /* nobody reads them any more */
	}
	channel_close(&channel);
	return EXIT_DONE;
}

const struct verb verb_events = {"events", events_verb, "events NAME",
				 "shows what happens, from now on, as JSON lines"};
