#include "program/inspect.h"

#include "program/node_words.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_PORT = 9229, FIRST_PORT = 1024, PORTS = 65536 };

/* The value of an option of the debugger: "" when it has none, NULL when it is another option. */
static const char *inspect_value(const char *option)
{
	static const char *const names[] = {"--inspect", "--inspect-brk", "--inspect-wait", "--inspect-port",
					    "--debug-port"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t len = strlen(names[i]);

		if (strncmp(option, names[i], len) == 0 && (option[len] == '\0' || option[len] == '='))
			return option + len + (option[len] == '=');
	}
	return NULL;
}

/* "9230", "localhost:9230", "[::1]:9230"; a host alone leaves the port as it is. */
static int port_of(const char *value, int otherwise)
{
	const char *colon = strrchr(value, ':'), *digits = colon ? colon + 1 : value;
	size_t len = strspn(digits, "0123456789");

	return len > 0 && len <= 5 && !digits[len] ? atoi(digits) % PORTS : otherwise;
}

/* with_script: the first word that is no option is the script, and ends them. */
static int scan(char *const *options, bool with_script, int *ret_at)
{
	int port = DEFAULT_PORT;

	*ret_at = 0;
	for (int i = 0; options[i]; i++) {
		const char *value = inspect_value(options[i]);
		bool more = node_words_has_value(options[i]) && options[i + 1];

		if (with_script && (options[i][0] != '-' || strcmp(options[i], "--") == 0))
			break;
		if (value) {
			port = port_of(more ? options[i + 1] : value, port);
			*ret_at = i + 1 + more;
		}
		i += more;
	}
	return *ret_at ? port : 0;
}

int inspect_port(char *const *options, int *ret_at)
{
	return scan(options, true, ret_at);
}

int inspect_port_of_text(const char *node_options)
{
	char *copy = node_options ? strdup(node_options) : NULL, *rest = copy, *word;
	char *options[64];
	int count = 0, ignored, port;

	while (copy && count < 63 && (word = strsep(&rest, " ")))
		options[count++] = word;
	options[count] = NULL;
	port = scan(options, false, &ignored);
	free(copy);
	return port;
}

int inspect_port_after(int base, int count)
{
	int port = base + count;

	while (port >= PORTS)
		port -= PORTS - FIRST_PORT;
	return port;
}
