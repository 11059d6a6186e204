#include "primary/settings.h"

#include <errno.h>
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

/* ---- settings ---- */

static int check(const struct umbel_settings *s, struct reason *r)
{
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
	for (int i = 0; i < 3; i++)
		if (s->stdio[i] < UMBEL_STDIO_PIPE)
			return reason_set(r, -EINVAL, "settings.stdio[%d] is %d: no descriptor and no "
					  "UMBEL_STDIO_*", i, s->stdio[i]);
	for (char *const *e = s->env; e && *e; e++)
		if (!strchr(*e, '=') || **e == '=')
			return reason_set(r, -EINVAL, "settings.env: '%s' is not NAME=VALUE", *e);
	return 0;
}

static int copy_string(const char *from, const char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

int settings_copy(const struct umbel_settings *from, struct umbel_settings *ret, struct reason *reason)
{
	struct umbel_settings s = *from;
	int err = check(from, reason);

	if (err)
		return err;
	s.exec = s.cwd = NULL;
	s.argv = s.env = NULL;
	err = copy_string(from->exec, &s.exec);
	err = err ? err : copy_string(from->cwd, &s.cwd);
	err = err ? err : strings_copy(from->argv, (char ***)&s.argv);
	err = err ? err : strings_copy(from->env, (char ***)&s.env);
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
	strings_free((char **)s->argv);
	strings_free((char **)s->env);
	memset(s, 0, sizeof(*s));
}

/* ---- environment ---- */

static int is_primarys_own(const char *entry)
{
	static const char *const names[] = {"NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_", "NODE_CHANNEL_",
					    "NODE_UNIQUE_ID=", "UMBEL_"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(entry, names[i], strlen(names[i])) == 0)
			return 1;
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

int environment_build(char *const *base, char *const *const *more, size_t more_count, char ***ret)
{
	size_t size = strings_count(base) + 1, count = 0;
	char **borrowed;
	int err;

	for (size_t i = 0; i < more_count; i++)
		size += strings_count(more[i]);
	borrowed = calloc(size, sizeof(*borrowed));
	if (!borrowed)
		return -ENOMEM;
	for (; base && *base; base++)
		if (!is_primarys_own(*base))
			borrowed[count++] = *base;
	for (size_t i = 0; i < more_count; i++)
		for (char *const *e = more[i]; e && *e; e++)
			put(borrowed, &count, *e);
	err = strings_copy(borrowed, ret);
	free(borrowed);
	return err;
}
