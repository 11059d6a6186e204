/* libFuzzer target: the scanner of the wire, checked against itself and against jansson. */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert(): a build with NDEBUG must not fuzz for nothing. */
#define CHECK(condition) ((condition) ? (void)0 : broken(#condition, __LINE__))

static void broken(const char *condition, int line)
{
	fprintf(stderr, "fuzz_json.c:%d: %s\n", line, condition);
	abort();
}

static bool is_ascii(const char *text)
{
	while (*text > 0 && *text < 0x7f)
		text++;
	return !*text;
}

/* A value inside a good text is itself a good text, and stays one whole value. */
static void check_span(const char *text, size_t len, struct json_span span)
{
	struct json_top top;

	if (!span.at) {
		CHECK(span.len == 0);
		return;
	}
	CHECK(span.len > 0);
	CHECK(span.at > text && span.at + span.len < text + len);
	CHECK(json_scan(span.at, span.len, &top) == 0);
	CHECK(!strchr(" \t\r\n", span.at[0]) && !strchr(" \t\r\n", span.at[span.len - 1]));
}

static void check_cmd(const struct json_top *top)
{
	if (json_is_internal(top))
		CHECK(json_string_starts(top->cmd, "NODE_") && !json_string_is(top->cmd, "NODE_"));
	CHECK(json_string_starts(top->cmd, "") == (top->cmd.at != NULL));
	if (!top->cmd.at)
		return;
	CHECK(top->cmd.len >= 2 && top->cmd.at[0] == '"' && top->cmd.at[top->cmd.len - 1] == '"');
	CHECK(json_string_is(top->cmd, "") == (top->cmd.len == 2));
}

/* What jansson, which has to make values of it, may refuse although it is JSON. */
static bool is_about_values(const json_error_t *error)
{
	switch (json_error_code(error)) {
	case json_error_invalid_utf8:
	case json_error_numeric_overflow:
	case json_error_null_character:
	case json_error_null_byte_in_key:
	case json_error_stack_overflow: /* it counts a scalar as a level */
		return true;
	default:
		return strncmp(error->text, "invalid Unicode", 15) == 0; /* a lone surrogate */
	}
}

/* Both take the text: they find the same in it. */
static void check_members(json_t *tree, const struct json_top *top)
{
	json_t *cmd = json_object_get(tree, "cmd"), *msg = json_object_get(tree, "msg"), *again;

	CHECK(json_is_string(cmd) == (top->cmd.at != NULL));
	if (json_is_string(cmd) && is_ascii(json_string_value(cmd))) {
		CHECK(json_string_is(top->cmd, json_string_value(cmd)));
		CHECK(json_is_internal(top) == (strncmp(json_string_value(cmd), "NODE_", 5) == 0 &&
						   json_string_length(cmd) > 5));
	}
	CHECK((msg != NULL) == (top->msg.at != NULL));
	if (msg) {
		again = json_loadb(top->msg.at, top->msg.len, JSON_DECODE_ANY, NULL);
		CHECK(again && json_equal(again, msg));
		json_decref(again);
	}
}

static void check(const char *text, size_t len)
{
	struct json_top top, untouched;
	json_error_t error;
	json_t *tree;
	int r;

	memset(&top, 0x5a, sizeof(top));
	untouched = top;
	r = json_scan(text, len, &top);
	tree = json_loadb(text, len, JSON_DECODE_ANY, &error);
	if (r == 0) {
		check_span(text, len, top.cmd);
		check_span(text, len, top.msg);
		check_cmd(&top);
		if (tree)
			check_members(tree, &top);
		else
			CHECK(is_about_values(&error));
	} else {
		CHECK(!tree || memchr(text, 0, len)); /* jansson overlooks a NUL after a number */
		CHECK(memcmp(&top, &untouched, sizeof(top)) == 0);
	}
	json_decref(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size ? size : 1); /* of exactly this size, for AddressSanitizer */

	CHECK(text);
	if (size)
		memcpy(text, data, size);
	check(text, size);
	free(text);
	return 0;
}
