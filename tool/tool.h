/* tool: what the verbs of the command share. */
#ifndef UMBEL_TOOL_H
#define UMBEL_TOOL_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

/* Exit statuses, the same for every verb. */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1, /* the app failed */
	EXIT_USAGE = 2,  /* bad usage or configuration, found before a worker ran */
	EXIT_NO_APP = 3, /* no such app */
	EXIT_UNDONE = 4, /* the reload was undone */
};

struct verb {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the verb */
	const char *usage;                 /* after "umbel " */
	const char *help;                  /* one line; NULL: the verb is for umbel itself, and not listed */
};

extern const struct verb verb_run, verb_list, verb_status, verb_stop, verb_reload, verb_scale, verb_policy,
    verb_why, verb_events, verb_probe;

int probe_check_url(const char *what, const char *text); /* 0, or EXIT_USAGE: complained; what: "--ready-url" */

/* One line on stderr with "umbel: " in front. Returns EXIT_USAGE. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "30s", "1500ms", "2m", "1h", "7" (seconds). 0 or -EINVAL. */
int parse_duration(const char *text, uint32_t *ret_ms);

/* "4", "max", "0" (max), "-1" (max less one). 0, -EINVAL, or -ERANGE: over the most. */
int parse_count(const char *text, int cpus, int *ret);

/* Digits only. 0, or -EINVAL: it is none, or over the most. */
int parse_number(const char *text, uint64_t most, uint64_t *ret);

/* "300M", "2G", "64K", "1048576" (bytes). 0 or -EINVAL. */
int parse_size(const char *text, uint64_t *ret_bytes);

/* "TERM", "SIGTERM", "15". The signal, or -EINVAL. */
int parse_signal(const char *text);

/* For verbs with one flag and names that begin at argv[optind]: so many (0 or 1; then it is an app's, and
 * checked), and up to `more` words behind. 0, or EXIT_USAGE after a complaint. */
int parse_flags(int argc, char **argv, const struct option *flags, int *ret_given, int names, int more);
int parse_name(int argc, char **argv); /* after getopt_long(): the one name that is left */
extern const struct option json_flag[];

/* What a worker wrote must not steer a terminal: control characters become '?'. Returns text. */
char *clean(char *text);

/* A string member of an object, cleaned, until the next call of so many; "": it is not there. */
struct json_t;
const char *clean_text(const struct json_t *object, const char *member);

/* "s", but not for one. */
const char *plural(long long count);

/* Whether text may be the name of an app: [A-Za-z0-9_][A-Za-z0-9_.-]{0,63}. */
int is_name(const char *text);

#endif
