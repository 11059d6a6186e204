#include "tool.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_LENGTH = 64, MOST_WORKERS = 1024 };

int complain(const char *format, ...)
{
	va_list args;

	fputs("umbel: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

int parse_duration(const char *text, uint32_t *ret_ms)
{
	static const struct {
		const char *name;
		unsigned ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}};
	char *end;
	unsigned long value;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 10);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].name) == 0 && !errno && value <= INT_MAX / units[i].ms) {
			*ret_ms = (uint32_t)value * units[i].ms;
			return 0;
		}
	return -EINVAL;
}

int parse_number(const char *text, uint64_t most, uint64_t *ret)
{
	unsigned long long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end || errno || value > most)
		return -EINVAL;
	*ret = value;
	return 0;
}

int parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	size_t digits = strspn(text, "0123456789");
	const char *unit = text[digits] ? strchr(units, toupper((unsigned char)text[digits])) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	char number[24];
	uint64_t value;

	if (digits >= sizeof(number) || (text[digits] && (!unit || text[digits + 1])))
		return -EINVAL;
	snprintf(number, sizeof(number), "%.*s", (int)digits, text);
	if (parse_number(number, UINT64_MAX >> shift, &value) < 0 || value == 0)
		return -EINVAL;
	*ret_bytes = value << shift;
	return 0;
}

int parse_signal(const char *text)
{
	uint64_t number;

	if (parse_number(text, NSIG - 1, &number) == 0)
		return number ? (int)number : -EINVAL;
	if (strncmp(text, "SIG", 3) == 0)
		text += 3;
	for (int sig = 1; sig < NSIG; sig++)
		if (sigabbrev_np(sig) && strcmp(text, sigabbrev_np(sig)) == 0)
			return sig;
	return -EINVAL;
}

int parse_count(const char *text, int cpus, int *ret)
{
	char *end;
	long value;

	if (strcmp(text, "max") == 0)
		text = "0";
	if (!isdigit((unsigned char)text[0]) && !(text[0] == '-' && isdigit((unsigned char)text[1])))
		return -EINVAL;
	errno = 0;
	value = strtol(text, &end, 10);
	if (*end)
		return -EINVAL;
	if (errno || value > MOST_WORKERS)
		return -ERANGE;
	if (value <= 0)
		value = cpus + value > 1 ? cpus + value : 1;
	*ret = (int)value;
	return 0;
}

char *clean(char *text)
{
	for (char *p = text; *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
	return text;
}

const char *clean_text(const json_t *object, const char *member)
{
	static char texts[4][1024];
	static unsigned next;
	const char *value = json_string_value(json_object_get(object, member));
	char *text = texts[next++ % 4];

	snprintf(text, sizeof(texts[0]), "%s", value ? value : "");
	return clean(text);
}

const char *plural(long long count)
{
	return count == 1 ? "" : "s";
}

int is_name(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > NAME_LENGTH || text[0] == '.' || text[0] == '-')
		return 0;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("_.-", text[i]))
			return 0;
	return 1;
}

const struct option json_flag[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};

static int check_names(int argc, char **argv, int names, int more)
{
	if (argc - optind < names)
		return complain("%s: which app? 'umbel list' shows those that run", argv[0]);
	if (argc - optind > names + more)
		return complain("%s: one word too many: %s", argv[0], argv[optind + names + more]);
	if (names && !is_name(argv[optind]))
		return complain("'%s' is no name of an app: letters, digits, _ . -", argv[optind]);
	return 0;
}

int parse_name(int argc, char **argv)
{
	return check_names(argc, argv, 1, 0);
}

int parse_flags(int argc, char **argv, const struct option *flags, int *ret_given, int names, int more)
{
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", flags, NULL)) != -1) {
		if (option == '?')
			return complain("%s: unknown option %s; it knows --%s", argv[0], argv[optind - 1],
					flags[0].name);
		*ret_given = 1;
	}
	return check_names(argc, argv, names, more);
}
