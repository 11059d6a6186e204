/* main: umbel VERB. Finds the verb, prints help and version. */
#include "tool.h"
#include "umbel.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct verb *const verbs[] = {&verb_run,  &verb_list,  &verb_status, &verb_stop,
				    &verb_reload, &verb_scale, &verb_policy, &verb_why,
				    &verb_events, &verb_probe};

enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static const struct verb *find(const char *name)
{
	for (int i = 0; i < VERBS; i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

static int help(const char *name)
{
	const struct verb *verb = name ? find(name) : NULL;

	if (name && !verb)
		return complain("there is no verb '%s'; 'umbel help' lists them", name);
	puts("umbel: a program as N supervised workers that share its ports\n");
	for (int i = 0; i < VERBS; i++)
		if (verbs[i]->help && (!verb || verb == verbs[i]))
			printf("umbel %s\n    %s\n\n", verbs[i]->usage, verbs[i]->help);
	return EXIT_DONE;
}

/* Closed, their numbers would be given to sockets, and what is printed would go there. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 3);
	if (fd >= 3)
		close(fd);
}

int main(int argc, char **argv)
{
	const struct verb *verb;

	open_standard_streams();

	if (argc < 2)
		return complain("what to do? 'umbel help' lists the verbs; for example: "
				"umbel run -- node app.js");
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
		printf("umbel %u.%u.%u\n", umbel_version() >> 16, umbel_version() >> 8 & 255,
		       umbel_version() & 255);
		return EXIT_DONE;
	}
	if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help(argc > 2 ? argv[2] : NULL);
	verb = find(argv[1]);
	if (!verb)
		return complain("there is no verb '%s'; 'umbel help' lists them", argv[1]);
	return verb->run(argc - 1, argv + 1);
}
