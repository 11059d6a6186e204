#include "program/node_words.h"

#include <stddef.h>
#include <string.h>

bool node_words_has_value(const char *option)
{
	static const char *const names[] = {"--inspect-port", "--debug-port", "-r", "--require", "--import",
					    "--loader", "--experimental-loader", "-C", "--conditions",
					    "--env-file", "--env-file-if-exists", "--title", "--input-type",
					    "-e", "--eval", "-p", "--print", "-pe"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(option, names[i]) == 0)
			return true;
	return false;
}

#define LAUNCHER(name) {name, "node " name " is a launcher: what it starts is met at bind()"}
static const struct {
	const char *name, *why;
} launchers[] = {LAUNCHER("--run"), LAUNCHER("--test"), LAUNCHER("--watch"), LAUNCHER("--watch-path")};

static const char *why_launcher(const char *option)
{
	for (size_t i = 0; i < sizeof(launchers) / sizeof(launchers[0]); i++) {
		size_t length = strlen(launchers[i].name);

		if (strncmp(option, launchers[i].name, length) == 0 && (!option[length] || option[length] == '='))
			return launchers[i].why;
	}
	return NULL;
}

const char *node_words_no_worker(char *const *options)
{
	for (; *options; options++) {
		const char *why = why_launcher(*options);
		bool is_last = strcmp(*options, "--") == 0;

		if (why)
			return why;
		if (strcmp(*options, "-") == 0 || (is_last && !options[1]))
			break; /* the script is to be read from /dev/null */
		if (is_last || **options != '-')
			return NULL; /* the script, or a word behind -e's; the rest is the program's */
		if (node_words_has_value(*options) && options[1])
			options++;
	}
	return "node without a script is nobody's worker in Node's cluster: met at bind()";
}
