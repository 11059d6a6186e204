#include "program/settings.h"

#include "program/named.h"
#include "wire/json.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* ---- vectors ---- */

static size_t strings_count(char *const *strings)
{
	size_t count = 0;

	while (strings && strings[count])
		count++;
	return count;
}

void strings_free(char **strings)
{
	for (size_t i = 0; strings && strings[i]; i++)
		free(strings[i]);
	free(strings);
}

int strings_copy(char *const *from, char ***ret)
{
	size_t count = strings_count(from);
	char **copy;

	if (!from) {
		*ret = NULL;
		return 0;
	}
	copy = calloc(count + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < count; i++) {
		copy[i] = strdup(from[i]);
		if (!copy[i]) {
			strings_free(copy);
			return -ENOMEM;
		}
	}
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

static void put(char **environment, size_t *count, char *entry)
{
	size_t name = strcspn(entry, "=") + 1;

	for (size_t i = 0; i < *count; i++)
		if (strncmp(environment[i], entry, name) == 0) {
			environment[i] = entry;
			return;
		}
	environment[(*count)++] = entry;
}

int strings_merge(char *const *const *vectors, size_t count, char ***ret)
{
	size_t size = 1, used = 0;
	char **borrowed;
	int err;

	for (size_t i = 0; i < count; i++)
		size += strings_count(vectors[i]);
	borrowed = calloc(size, sizeof(*borrowed));
	if (!borrowed)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		for (char *const *e = vectors[i]; e && *e; e++)
			put(borrowed, &used, *e);
	err = strings_copy(borrowed, ret);
	free(borrowed);
	return err;
}

/* ---- settings ---- */

static int check_life(const struct umbel_settings *s, struct reason *r)
{
	struct json_top ignored;

	if ((int)s->restart < UMBEL_RESTART_ALWAYS || s->restart > UMBEL_RESTART_NEVER)
		return reason_set(r, -EINVAL, "settings.restart is %d: no UMBEL_RESTART_*", (int)s->restart);
	if (s->stop_signal < 1 || s->stop_signal >= NSIG)
		return reason_set(r, -EINVAL, "settings.stop_signal is %d: no signal", s->stop_signal);
	if (s->surge < 1)
		return reason_set(r, -EINVAL, "settings.surge is 0: at least 1, or UMBEL_SURGE_ALL");
	if (s->stop_message && json_scan(s->stop_message, strlen(s->stop_message), &ignored) < 0)
		return reason_set(r, -EINVAL, "settings.stop_message is not one JSON value");
	for (const int *code = s->stop_codes; code && *code != -1; code++)
		if (*code < 0 || *code > 255)
			return reason_set(r, -EINVAL, "settings.stop_codes: %d is no exit status (0 to 255)",
					  *code);
	return 0;
}

static int check_stdio(const struct umbel_settings *s, struct reason *r)
{
	int channels = 0;

	for (int i = 0; i < UMBEL_STDIO_MAX; i++) {
		if (s->stdio[i] < UMBEL_STDIO_NONE)
			return reason_set(r, -EINVAL, "settings.stdio[%d] is %d: no descriptor and no "
					  "UMBEL_STDIO_*", i, s->stdio[i]);
		channels += s->stdio[i] == UMBEL_STDIO_CHANNEL;
	}
	if (channels != 1)
		return reason_set(r, -EINVAL, "settings.stdio has UMBEL_STDIO_CHANNEL in %d places: it must be "
				  "one", channels);
	return 0;
}

static int check(const struct umbel_settings *s, struct reason *r)
{
	int err;

	if (s->size != sizeof(*s))
		return reason_set(r, -EINVAL, "settings.size is %zu, this library's is %zu: start from "
				  "UMBEL_SETTINGS", s->size, sizeof(*s));
	if (s->uid < -1 || s->uid > UINT32_MAX || s->gid < -1 || s->gid > UINT32_MAX)
		return reason_set(r, -EINVAL, "settings.uid and .gid are -1 (ours) or an id");
	if (s->window < 1 || s->window > 64)
		return reason_set(r, -EINVAL, "settings.window is %u, allowed are 1 to 64", s->window);
	if (s->max_message < 1024 || s->max_message > 1u << 30)
		return reason_set(r, -EINVAL, "settings.max_message is %zu, allowed are 1 KiB to 1 GiB",
				  s->max_message);
	if ((int)s->policy < UMBEL_AUTO || s->policy > UMBEL_SHARED)
		return reason_set(r, -EINVAL, "settings.policy is %d: no UMBEL_AUTO to UMBEL_SHARED",
				  (int)s->policy);
	if (settings_policy(s) > UMBEL_LEAST && s->recycle_connections)
		return reason_set(r, -EINVAL, "settings.recycle_connections: only under UMBEL_RR and UMBEL_LEAST are "
				  "they counted");
	if (settings_policy(s) > UMBEL_LEAST && s->max_connections)
		return reason_set(r, -EINVAL, "settings.max_connections: only under UMBEL_RR and UMBEL_LEAST does the "
				  "primary accept");
	for (const int *fd = s->pass_fds; fd && *fd != -1; fd++)
		if (*fd < 0 || fcntl(*fd, F_GETFD) < 0)
			return reason_set(r, -EINVAL, "settings.pass_fds: descriptor %d is not open", *fd);
	for (char *const *e = s->env; e && *e; e++)
		if (!strchr(*e, '=') || **e == '=')
			return reason_set(r, -EINVAL, "settings.env: '%s' is not NAME=VALUE", *e);
	err = check_stdio(s, r);
	err = err ? err : named_check(s->listen, "settings.listen", r);
	err = err ? err : named_check(s->no_share, "settings.no_share", r);
	if (!err && s->ready_command && !s->ready_command[0])
		err = reason_set(r, -EINVAL, "settings.ready_command is empty: its first word is a program");
	if (!err && s->spares && s->ready_after_ms)
		err = reason_set(r, -EINVAL, "settings.spares: a program that is ready by its age (ready_after_ms) is "
				 "not held before it listens");
	if (!err && s->spares > SETTINGS_SPARES_MOST)
		err = reason_set(r, -EINVAL, "settings.spares is %u, allowed are 0 to %d", s->spares,
				 SETTINGS_SPARES_MOST);
	return err ? err : check_life(s, r);
}

static int copy_string(const char *from, const char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

static int copy_numbers(const int *from, const int **ret)
{
	size_t count = 1;
	int *copy;

	*ret = NULL;
	if (!from)
		return 0;
	while (from[count - 1] >= 0)
		count++;
	copy = malloc(count * sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, from, count * sizeof(*copy));
	*ret = copy;
	return 0;
}

int settings_copy(const struct umbel_settings *from, struct umbel_settings *ret, struct reason *reason)
{
	struct umbel_settings s = *from;
	int err = check(from, reason);

	if (err)
		return err;
	s.exec = s.cwd = s.stop_message = NULL;
	s.stop_codes = s.pass_fds = NULL;
	s.argv = s.env = s.listen = s.no_share = s.ready_command = NULL;
	err = copy_string(from->exec, &s.exec);
	err = err ? err : copy_string(from->cwd, &s.cwd);
	err = err ? err : copy_string(from->stop_message, &s.stop_message);
	err = err ? err : copy_numbers(from->stop_codes, &s.stop_codes);
	err = err ? err : copy_numbers(from->pass_fds, &s.pass_fds);
	err = err ? err : strings_copy(from->argv, (char ***)&s.argv);
	err = err ? err : strings_copy(from->env, (char ***)&s.env);
	err = err ? err : strings_copy(from->listen, (char ***)&s.listen);
	err = err ? err : strings_copy(from->no_share, (char ***)&s.no_share);
	err = err ? err : strings_copy(from->ready_command, (char ***)&s.ready_command);
	if (err) {
		settings_finish(&s);
		return reason_set(reason, err, "settings: out of memory");
	}
	*ret = s;
	return 0;
}

void settings_finish(struct umbel_settings *s)
{
	free((char *)s->exec);
	free((char *)s->cwd);
	free((char *)s->stop_message);
	free((int *)s->stop_codes);
	free((int *)s->pass_fds);
	strings_free((char **)s->argv);
	strings_free((char **)s->env);
	strings_free((char **)s->listen);
	strings_free((char **)s->no_share);
	strings_free((char **)s->ready_command);
	memset(s, 0, sizeof(*s));
}

int settings_channel(const struct umbel_settings *s)
{
	for (int i = 0; i < UMBEL_STDIO_MAX; i++)
		if (s->stdio[i] == UMBEL_STDIO_CHANNEL)
			return i;
	return -1; /* settings_copy() refuses that */
}

enum umbel_policy settings_policy(const struct umbel_settings *s)
{
	const char *node = getenv("NODE_CLUSTER_SCHED_POLICY");

	if (s->policy != UMBEL_AUTO)
		return s->policy;
	return node && strcmp(node, "none") == 0 ? UMBEL_SPREAD : UMBEL_RR;
}

/* ---- a slot's own program ---- */

int program_copy(const char *exec, char *const *argv, char *const *env, struct program *ret)
{
	struct program p = {0};
	int err = copy_string(exec, (const char **)&p.exec);

	err = err ? err : strings_copy(argv, &p.argv);
	err = err ? err : strings_copy(env, &p.env);
	if (err)
		program_finish(&p);
	else
		*ret = p;
	return err;
}

void program_finish(struct program *p)
{
	free(p->exec);
	strings_free(p->argv);
	strings_free(p->env);
	*p = (struct program){0};
}

/* ---- environment ---- */

static int is_primarys_own(const char *entry)
{
	static const char *const names[] = {"NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_", "NODE_CHANNEL_",
					    "NODE_UNIQUE_ID=", "NODE_APP_INSTANCE=", "UMBEL_"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(entry, names[i], strlen(names[i])) == 0)
			return 1;
	return 0;
}

int environment_build(char *const *base, char *const *const *more, size_t more_count, char ***ret)
{
	char **inherited = calloc(strings_count(base) + 1, sizeof(*inherited));
	char *const *vectors[ENVIRONMENT_MOST + 1] = {inherited};
	size_t count = 0;
	int err;

	if (!inherited)
		return -ENOMEM;
	for (; base && *base; base++)
		if (!is_primarys_own(*base))
			inherited[count++] = *base;
	memcpy(vectors + 1, more, more_count * sizeof(*more));
	err = strings_merge(vectors, more_count + 1, ret);
	free(inherited);
	return err;
}

const char *environment_value(char *const *environment, const char *name)
{
	size_t len = strlen(name);

	for (; environment && *environment; environment++)
		if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
			return *environment + len + 1;
	return NULL;
}
