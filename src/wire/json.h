/* json: one pass over one line of the wire. Checks that it is one JSON value (RFC 8259 syntax, depth
 * bounded) and finds the top-level members that say what the line is for. Allocates nothing and keeps
 * nothing: a user's message is passed on as the text that came. Not a parser: values stay text. */
#ifndef UMBEL_WIRE_JSON_H
#define UMBEL_WIRE_JSON_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_MAX_DEPTH 2048 /* jansson's own limit (JSON_PARSER_MAX_DEPTH) */

/* A part of the scanned text: a value as it stands there, a string with its quotes. */
struct json_span {
	const char *at; /* NULL: not there */
	size_t len;     /* bytes */
};

struct json_top {
	struct json_span cmd; /* member "cmd" of the top-level object when it is a string */
	struct json_span msg; /* member "msg" of the top-level object, of any type */
	struct json_span key; /* member "key", likewise */
};

/* White space around the value is allowed (a CR before the line feed too). Of a name that comes twice
 * the last one counts, as in JSON.parse; names are compared after their escapes. Bytes >= 0x80 in
 * strings are taken as they are. 0, or -EINVAL (not one JSON value), -E2BIG (deeper than
 * JSON_MAX_DEPTH); then ret is untouched. */
int json_scan(const char *text, size_t len, struct json_top *ret);

/* Compare a string span (quotes included) after its escapes with ASCII text. False if absent. */
bool json_string_is(struct json_span string, const char *ascii);
bool json_string_starts(struct json_span string, const char *ascii);

/* Node's rule for messages of its own: `cmd` starts with NODE_ and is longer than that. */
bool json_is_internal(const struct json_top *top);

#endif
