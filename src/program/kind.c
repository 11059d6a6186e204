#include "program/kind.h"

#include "program/node_words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_one_of(const char *path, const char *const *names)
{
	const char *slash = strrchr(path, '/');

	for (; *names; names++)
		if (strcmp(slash ? slash + 1 : path, *names) == 0)
			return true;
	return false;
}

static const char *const node_names[] = {"node", "nodejs", NULL};

#define LAUNCHER(name) {name, name " is a launcher: what it starts is met at bind()"}
static const struct {
	const char *name, *why;
} launchers[] = {LAUNCHER("npm"), LAUNCHER("npx"), LAUNCHER("yarn"), LAUNCHER("pnpm"), LAUNCHER("tsx")};

/* Whether line ("#!/usr/bin/env -S node --flag") names Node. Cuts it up. */
static bool shebang_is_node(char *line)
{
	char *rest = line + 2, *word = strtok_r(rest, " \t", &rest);
	static const char *const env_names[] = {"env", NULL};

	if (word && is_one_of(word, env_names))
		do
			word = strtok_r(NULL, " \t", &rest);
		while (word && (word[0] == '-' || strchr(word, '=')));
	return word && is_one_of(word, node_names);
}

static bool script_is_node(const char *path)
{
	char line[256]; /* the kernel reads as much (BINPRM_BUF_SIZE) */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n < 3 || line[0] != '#' || line[1] != '!')
		return false;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return shebang_is_node(line);
}

bool kind_can_be_held(enum kind kind)
{
	return kind == KIND_NODE || kind == KIND_CHANNEL || kind == KIND_INTERCEPT;
}

bool kind_is_node_itself(const char *path)
{
	char *real = realpath(path, NULL);
	bool node = is_one_of(real ? real : path, node_names);

	free(real);
	return node;
}

enum kind kind_of_program(const char *name, const char *path, char *const *argv, const char **ret_why)
{
	for (size_t i = 0; i < sizeof(launchers) / sizeof(launchers[0]); i++)
		if (is_one_of(name, (const char *const[]){launchers[i].name, NULL})) {
			*ret_why = launchers[i].why;
			return KIND_INTERCEPT;
		}
	if (kind_is_node_itself(path)) {
		const char *why = argv && argv[0] ? node_words_no_worker(argv + 1) : NULL;

		*ret_why = why ? why : "the program is node";
		return why ? KIND_INTERCEPT : KIND_NODE;
	}
	if (script_is_node(path)) {
		*ret_why = "a script whose #! line says node";
		return KIND_NODE;
	}
	*ret_why = "not Node's: met at bind(), or on the channel if it speaks it";
	return KIND_INTERCEPT;
}

static const char *const kind_names[] = {
    [KIND_AUTO] = "auto", [KIND_NODE] = "node", [KIND_CHANNEL] = "channel",
    [KIND_INTERCEPT] = "intercept", [KIND_LISTEN_FDS] = "listen-fds", [KIND_NONE] = "none"};

const char *kind_name(enum kind kind)
{
	return kind_names[kind];
}

int kind_from_name(const char *name, enum kind *ret)
{
	for (int i = KIND_AUTO; i <= KIND_NONE; i++)
		if (strcmp(name, kind_names[i]) == 0) {
			*ret = (enum kind)i;
			return 0;
		}
	return -EINVAL;
}
