#include "program/preload.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VARIABLE "NODE_OPTIONS="

/* ---- where it is ---- */

/* Beside the object that this code is in: in the build tree, or in an installation that may have been
 * moved. The object is bin/umbel, lib/libumbel.so or lib/TRIPLET/libumbel.so. */
static const char *const places[] = {
    "umbel-preload.cjs", "../share/umbel/umbel-preload.cjs", "../../share/umbel/umbel-preload.cjs"};

/* Of the program itself dladdr(3) says argv[0]: as it was called, not where it is. */
static bool find_object(char *ret)
{
	Dl_info info;

	if (!dladdr((void *)(size_t)preload_options, &info) || !info.dli_fname)
		return false;
	return realpath(strstr(info.dli_fname, ".so") ? info.dli_fname : "/proc/self/exe", ret);
}

static bool find(char *ret)
{
	char object[PATH_MAX], path[PATH_MAX + 64];

	if (!find_object(object))
		return false;
	*strrchr(object, '/') = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", object, places[i]);
		if (realpath(path, ret))
			return true;
	}
	return false;
}

/* Every directory on the way must let others through. */
static bool is_for_everybody(const char *file)
{
	char path[PATH_MAX], *slash;
	struct stat st;

	snprintf(path, sizeof(path), "%s", file);
	if (stat(path, &st) < 0 || !(st.st_mode & S_IROTH))
		return false;
	while ((slash = strrchr(path, '/')) && slash != path) {
		*slash = '\0';
		if (stat(path, &st) < 0 || !(st.st_mode & S_IXOTH))
			return false;
	}
	return true;
}

/* ---- the variable ---- */

static const char *value_in(char *const *vector, const char *so_far)
{
	for (; vector && *vector; vector++)
		if (strncmp(*vector, VARIABLE, strlen(VARIABLE)) == 0)
			so_far = *vector + strlen(VARIABLE);
	return so_far;
}

/* Node's permission model: it would have to allow our file too. */
static bool has_permissions(char *const *argv, const char *value)
{
	static const char *const flags[] = {"--permission", "--experimental-permission"};

	for (size_t i = 0; i < 2; i++) {
		if (strstr(value, flags[i]))
			return true;
		for (char *const *a = argv; a && *a; a++)
			if (strcmp(*a, flags[i]) == 0)
				return true;
	}
	return false;
}

/* Node splits the value at spaces; in double quotes a backslash escapes. */
char *preload_value(const char *old_value, const char *path)
{
	static const char option[] = "--require \"";
	char *text = malloc(strlen(VARIABLE) + strlen(old_value) + strlen(option) + 2 * strlen(path) + 3);
	char *p = text;

	if (!text)
		return NULL;
	p = stpcpy(stpcpy(p, VARIABLE), old_value);
	if (old_value[0])
		*p++ = ' ';
	p = stpcpy(p, option);
	for (; *path; path++) {
		if (*path == '"' || *path == '\\')
			*p++ = '\\';
		*p++ = *path;
	}
	strcpy(p, "\"");
	return text;
}

char *preload_options(char *const *base, char *const *const *more, size_t count, char *const *argv,
		      bool for_other_user)
{
	const char *value = value_in(base, "");
	char path[PATH_MAX];

	if (!find(path) || (for_other_user && !is_for_everybody(path)))
		return NULL;
	for (size_t i = 0; i < count; i++)
		value = value_in(more[i], value);
	if (has_permissions(argv, value))
		return NULL;
	return preload_value(value, path);
}
