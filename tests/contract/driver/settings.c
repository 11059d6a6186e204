/* settings: what libumbel needs, made of the JSON of "setup" and "fork". */
#include "driver.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORDS = 32 };

/* Strings made of JSON, for umbel_settings: NULL-terminated. */
struct words {
	char *word[MAX_WORDS + 1];
	int count;
};

static void words_add(struct words *w, const char *a, const char *b, const char *c)
{
	if (w->count < MAX_WORDS && asprintf(&w->word[w->count], "%s%s%s", a, b, c) >= 0)
		w->count++;
}

/* Those of an array as they are, those of an object as K=V. */
static void words_add_json(struct words *w, json_t *json)
{
	const char *key;
	json_t *value;
	size_t i;

	json_array_foreach(json, i, value)
		words_add(w, json_string_value(value), "", "");
	json_object_foreach(json, key, value)
		words_add(w, key, "=", json_string_value(value));
}

static void words_finish(struct words *w)
{
	while (w->count > 0)
		free(w->word[--w->count]);
}

int settings_signal(const char *name)
{
	for (int sig = 1; name && sig < 32; sig++)
		if (sigabbrev_np(sig) && strcmp(sigabbrev_np(sig), name + strlen("SIG")) == 0)
			return sig;
	return -1;
}

static int integer(json_t *object, const char *name, int otherwise)
{
	json_t *value = json_object_get(object, name);

	return json_is_integer(value) ? (int)json_integer_value(value) : otherwise;
}

static void stdio_of(int *places, json_t *o)
{
	json_t *stdio = json_object_get(o, "stdio");
	static const struct {
		const char *word;
		int place;
	} words[] = {{"inherit", UMBEL_STDIO_INHERIT}, {"pipe", UMBEL_STDIO_PIPE},
		     {"ipc", UMBEL_STDIO_CHANNEL}, {"ignore", UMBEL_STDIO_NONE}};
	json_t *word;
	size_t i;

	for (i = 0; i < 3 && json_is_true(json_object_get(o, "silent")); i++)
		places[i] = UMBEL_STDIO_PIPE;
	for (i = 0; stdio && i < UMBEL_STDIO_MAX; i++)
		places[i] = UMBEL_STDIO_NONE;
	json_array_foreach(stdio, i, word)
		for (size_t j = 0; j < sizeof(words) / sizeof(words[0]); j++)
			if (strcmp(words[j].word, json_string_value(word)) == 0)
				places[i % UMBEL_STDIO_MAX] = words[j].place;
}

int settings_setup(struct driver *d, json_t *changes)
{
	const char *node = getenv("UMBEL_TEST_NODE"), *policy, *sig;
	struct umbel_settings s = UMBEL_SETTINGS;
	struct words argv = {0}, env = {0};
	int fds[MAX_WORDS + 1], count = 0, err;
	size_t i;
	json_t *o, *fd;

	d->settings = d->settings ? d->settings : json_object();
	o = d->settings;
	json_object_update(o, changes);
	s.exec = node ? node : "node";
	words_add(&argv, s.exec, "", "");
	words_add_json(&argv, json_object_get(o, "execArgv"));
	words_add(&argv, json_string_value(json_object_get(o, "exec")), "", "");
	words_add_json(&argv, json_object_get(o, "args"));
	s.argv = argv.word;
	words_add_json(&env, json_object_get(o, "env"));
	s.env = env.word;
	s.cwd = json_string_value(json_object_get(o, "cwd"));
	stdio_of(s.stdio, o);
	s.uid = integer(o, "uid", -1);
	s.gid = integer(o, "gid", -1);
	policy = json_string_value(json_object_get(o, "policy"));
	if (policy)
		s.policy = strcmp(policy, "none") == 0 ? UMBEL_SHARED : UMBEL_RR;
	json_array_foreach(json_object_get(o, "pass_fds"), i, fd)
		if (count < MAX_WORDS)
			fds[count++] = (int)json_integer_value(fd);
	fds[count] = -1;
	s.pass_fds = fds;
	s.max_message = (size_t)integer(o, "max_message", (int)s.max_message);
	s.max_queue = (size_t)integer(o, "max_queue", (int)s.max_queue);
	s.grace_ms = (uint32_t)integer(o, "grace_ms", (int)s.grace_ms);
	if (json_is_false(json_object_get(o, "preload")))
		s.node_preload = false;
	/* Node sends no signal to one that was disconnected, and nobody minds this one. */
	sig = json_string_value(json_object_get(o, "stop_signal"));
	s.stop_signal = sig ? settings_signal(sig) : SIGCONT;
	err = umbel_setup(d->umbel, &s);
	words_finish(&argv);
	words_finish(&env);
	return err;
}

int settings_fork(struct driver *d, json_t *env)
{
	struct words words = {0};
	int err;

	words_add_json(&words, env);
	err = umbel_fork(d->umbel, words.word, NULL);
	words_finish(&words);
	return err;
}
