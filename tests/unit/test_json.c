/* The scanner of the wire: what it takes, what it refuses, what it finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct text {
	const char *at;
	size_t len;
};

/* A literal with its length, so that it can hold NULs. */
#define T(literal) {literal, sizeof(literal) - 1}

/* From a copy of exactly this size, so that a sanitizer sees each byte read too many. */
static int scan(const char *text, size_t len, struct json_top *ret)
{
	char *copy = malloc(len ? len : 1);
	struct json_top top;
	int r;

	assert_non_null(copy);
	memcpy(copy, text, len);
	r = json_scan(copy, len, &top);
	if (r == 0 && ret) {
		*ret = top;
		if (top.cmd.at)
			ret->cmd.at = text + (top.cmd.at - copy);
		if (top.msg.at)
			ret->msg.at = text + (top.msg.at - copy);
	}
	free(copy);
	return r;
}

static void check_span(const char *text, struct json_span span, const char *expected)
{
	if (!expected) {
		if (span.at)
			fail_msg("%s: found %.*s", text, (int)span.len, span.at);
		assert_int_equal(span.len, 0);
		return;
	}
	if (!span.at || span.len != strlen(expected) || memcmp(span.at, expected, span.len) != 0)
		fail_msg("%s: found %.*s instead of %s", text, (int)span.len,
			 span.at ? span.at : "", expected);
}

static const struct text good[] = {
	T("null"), T("true"), T("false"), T("\"\""), T("[]"), T("{}"), T("[ ]"), T("{ }"),
	/* numbers: the syntax counts, the value may be beyond any machine's */
	T("0"), T("-0"), T("7"), T("10"), T("1E+2"), T("1e-2"), T("1e2"), T("0.5"), T("-0.0e00"),
	T("0e1"), T("18446744073709551616"), T("1e400"), T("-123456789.0123456789e-0123"),
	/* white space */
	T(" \t\r\n1 \t\r\n"), T("{}\r"), T("[ 1 ,\t2\r\n, 3 ]"), T(" { \"a\" : 1 , \"b\" : [ ] } "),
	/* strings */
	T("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), T("\"\\u0000\\uABCD\\uabcd\""), T("\"\x7f\""),
	T("\"\\ud800\""), T("\"\\udc00 alone\""), T("\"\\udc00\\ud800\""), T("\"\\ud83d\\ude00\""),
	T("\"\xf0\x9f\x98\x80 \xc3\xa4\""), T("\"\xff\xfe\x80\xc3\""), T("\"\xed\xa0\x80\""),
	T("\"seven..\""), T("\"eight...\""), T("\"nine....\\n\""),
	T("\"0123456789abcdef\\\"0123\""),
	/* containers */
	T("[[[]],{}]"), T("{\"\":{\"\":[]}}"), T("{\"a\":1,\"a\":2}"),
	T("[null,true,false,\"\",0]"),
};

static const struct text bad[] = {
	/* nothing */
	T(""), T(" "), T("\n"), T("\r\n"), T("\t \t"),
	/* words */
	T("n"), T("nul"), T("nulL"), T("nullx"), T("True"), T("fals"), T("undefined"), T("NaN"),
	T("Infinity"), T("-Infinity"), T("x"),
	/* numbers */
	T("01"), T("-01"), T("00"), T("-"), T("+1"), T("1."), T(".5"), T("-.5"), T("1.e1"), T("1e"),
	T("1e+"), T("1E-"), T("1e1.5"), T("0x10"), T("1_000"), T("--1"), T("- 1"), T("1 2"),
	T("1a"),
	/* strings */
	T("\""), T("\"a"), T("\"\\\""), T("'a'"), T("\"a\"b"), T("\"a\"\"b\""),
	T("\"\\x41\""), T("\"\\a\""), T("\"\\v\""), T("\"\\'\""), T("\"\\0\""), T("\"\\U0041\""),
	T("\"\\"), T("\"\\u"), T("\"\\u123"), T("\"\\u123\""), T("\"\\u123g\""), T("\"\\u 123\""),
	T("\"\\u+123\""), T("\"\\u00"), T("\"\\\n\""),
	/* containers */
	T("["), T("]"), T("{"), T("}"), T("[1"), T("[1,"), T("[1,]"), T("[,1]"), T("[,]"),
	T("[1 2]"),
	T("[1,,2]"), T("[}"), T("{]"), T("[1}"), T("[]]"), T("{}}"), T("[[]"), T("{\"a\"}"),
	T("{\"a\":}"), T("{\"a\":1"), T("{\"a\":1,"), T("{\"a\":1,}"), T("{,\"a\":1}"), T("{a:1}"),
	T("{1:1}"), T("{null:1}"), T("{\"a\" 1}"), T("{\"a\"::1}"), T("{\"a\":1 \"b\":2}"),
	T("{\"a\":1]"),
	T("{\"a\":1;\"b\":2}"), T("{[]:1}"), T("[\"a\":1]"), T(","), T(":"),
	/* after the value */
	T("{}x"), T("{} {}"), T("{}\n{}"), T("null,"), T("[] // no"), T("/**/1"),
	/* NUL, byte order mark, white space that is none to JSON */
	T("\0"), T("1\0"), T("\0""1"), T("[1\0]"), T("\"\0\""), T("\"a\0b\""), T("{\"a\"\0:1}"),
	T("\xef\xbb\xbf{}"), T("\v1"), T("\f1"), T("\xc2\xa0""1"), T("1\xa0"),
	T("\xff"), T("[\x80]"),
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct json_top top;
		int r = scan(good[i].at, good[i].len, &top);

		if (r != 0)
			fail_msg("good[%zu] %s: %d", i, good[i].at, r);
		check_span(good[i].at, top.cmd, NULL);
		check_span(good[i].at, top.msg, NULL);
	}
}

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		int r = scan(bad[i].at, bad[i].len, NULL);

		if (r != -EINVAL)
			fail_msg("bad[%zu] %s: %d", i, bad[i].at, r);
	}
}

/* At each place of a string, since the fast loop looks at eight bytes at a time, and before a
 * letter that would make an escape of a backslash. */
static void test_control_characters(void **state)
{
	char text[40];

	(void)state;
	for (int byte = 0; byte < 256; byte++) {
		for (size_t at = 1; at < sizeof(text) - 1; at++) {
			int expected = byte < 0x20 || byte == '"' ? -EINVAL : 0;

			memset(text, 'n', sizeof(text));
			text[0] = text[sizeof(text) - 1] = '"';
			text[at] = (char)byte;
			if (byte == '\\' && at == sizeof(text) - 2)
				expected = -EINVAL; /* it escapes the closing quote */
			if (scan(text, sizeof(text), NULL) != expected)
				fail_msg("byte %d at %zu", byte, at);
		}
	}
}

/* A hit in one lane of the eight must not be made, or hidden, by its neighbours. */
static void test_neighbours(void **state)
{
	static const unsigned char bytes[] = {
		0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff};
	char text[18];

	(void)state;
	for (size_t i = 0; i < COUNT(bytes); i++) {
		for (size_t at = 1; at < 17; at++) {
			memset(text, bytes[i], sizeof(text));
			text[0] = text[17] = '"';
			assert_int_equal(scan(text, sizeof(text), NULL), 0);
			text[at] = 0x1f;
			assert_int_equal(scan(text, sizeof(text), NULL), -EINVAL);
		}
	}
}

static const struct {
	const char *text;
	const char *cmd; /* NULL: none */
	const char *msg;
} members[] = {
	{"{\"cmd\":\"NODE_CLUSTER\"}", "\"NODE_CLUSTER\"", NULL},
	{"{\"cmd\":\"a\",\"msg\":{\"cmd\":\"b\"}}", "\"a\"", "{\"cmd\":\"b\"}"},
	{"{\"msg\":[1, 2],\"cmd\":\"last\"}", "\"last\"", "[1, 2]"},
	{" { \"x\" : 1 , \"cmd\" : \"spaced\" , \"msg\" : null } ", "\"spaced\"", "null"},
	{"{\"cmd\":\"a\\\"b\\\\\",\"msg\":-1.5e3}", "\"a\\\"b\\\\\"", "-1.5e3"},
	{"{\"msg\":true }", NULL, "true"},
	{"{\"msg\":{} ,\"a\":1}", NULL, "{}"},
	{"{\"msg\":[]}", NULL, "[]"},
	{"{\"msg\":\"\\ud800\"}", NULL, "\"\\ud800\""},
	{"{\"msg\":18446744073709551616}", NULL, "18446744073709551616"},
	{"{\"msg\":1e400}", NULL, "1e400"},
	/* not at the top */
	{"{\"a\":{\"cmd\":\"nested\",\"msg\":1}}", NULL, NULL},
	{"[{\"cmd\":\"in an array\",\"msg\":1}]", NULL, NULL},
	{"[\"cmd\",\"msg\"]", NULL, NULL},
	{"\"cmd\"", NULL, NULL},
	{"{\"a\":\"cmd\",\"b\":\"msg\"}", NULL, NULL},
	{"{\"msg\":{\"msg\":1,\"cmd\":\"x\"},\"z\":{\"cmd\":\"y\"}}", NULL,
	 "{\"msg\":1,\"cmd\":\"x\"}"},
	{"{\"cmd\":\"a\",\"z\":[{\"cmd\":\"b\"}]}", "\"a\"", NULL},
	/* names after their escapes */
	{"{\"\\u0063md\":\"e\",\"\\u006D\\u0073g\":1}", "\"e\"", "1"},
	{"{\"c\\u006dd\":\"e\",\"ms\\u0067\":2}", "\"e\"", "2"},
	{"{\"cmd\\u0000\":\"e\",\"msg\\u0000\":1}", NULL, NULL},
	{"{\" cmd\":\"e\"}", NULL, NULL},
	{"{\"cm\":\"e\",\"cmdx\":\"e\",\"Cmd\":\"e\",\"\":\"e\",\"ms\":1,\"msgs\":1}",
	 NULL, NULL},
	{"{\"\\u0163md\":\"e\",\"\\\\cmd\":\"e\"}", NULL, NULL},
	/* twice: the last one counts */
	{"{\"cmd\":\"first\",\"cmd\":\"second\"}", "\"second\"", NULL},
	{"{\"cmd\":\"first\",\"c\\u006dd\":\"second\"}", "\"second\"", NULL},
	{"{\"cmd\":1,\"cmd\":\"second\"}", "\"second\"", NULL},
	{"{\"cmd\":\"first\",\"cmd\":1}", NULL, NULL},
	{"{\"cmd\":\"first\",\"cmd\":null}", NULL, NULL},
	{"{\"cmd\":\"first\",\"cmd\":{\"cmd\":\"inner\"}}", NULL, NULL},
	{"{\"cmd\":\"first\",\"cmd\":[]}", NULL, NULL},
	{"{\"cmd\":\"first\",\"cmd\":{}}", NULL, NULL},
	{"{\"msg\":1,\"msg\":[]}", NULL, "[]"},
	{"{\"cmd\":[\"a\"],\"msg\":0}", NULL, "0"},
};

static void test_members(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(members); i++) {
		struct json_top top;

		if (scan(members[i].text, strlen(members[i].text), &top) != 0)
			fail_msg("refused: %s", members[i].text);
		check_span(members[i].text, top.cmd, members[i].cmd);
		check_span(members[i].text, top.msg, members[i].msg);
	}
}

static void test_untouched_when_refused(void **state)
{
	static const char text[] = "{\"cmd\":\"a\",\"msg\":1";
	struct json_top top, before;

	(void)state;
	memset(&top, 0x5a, sizeof(top));
	before = top;
	assert_int_equal(json_scan(text, sizeof(text) - 1, &top), -EINVAL);
	assert_memory_equal(&top, &before, sizeof(top));
}

static void test_truncated(void **state)
{
	static const char text[] =
		"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":{"
		"\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\","
		"\"key\":\"\\u003a8000:4:\\ud83d\\ude00\\n\\\"\",\"ack\":12,"
		"\"data\":[null,true,false,-1.25e-3,[[],{}],{\"a\":{\"b\":[1,2]}}],"
		"\"long\":\"a plain run that is longer than a few words \xc3\xa4\"}}";

	(void)state;
	assert_int_equal(scan(text, sizeof(text) - 1, NULL), 0);
	for (size_t len = 0; len < sizeof(text) - 1; len++)
		if (scan(text, len, NULL) != -EINVAL)
			fail_msg("taken: %.*s", (int)len, text);
}

/* depth containers, each in the one before, around a value (or nothing). */
static size_t nest(char *out, size_t depth, bool objects, const char *value)
{
	const char *open = objects ? "{\"a\":" : "[";
	char *p = out;

	for (size_t i = 0; i < depth; i++)
		p = stpcpy(p, objects && i == depth - 1 && !*value ? "{" : open);
	p = stpcpy(p, value);
	memset(p, objects ? '}' : ']', depth);
	return (size_t)(p - out) + depth;
}

static void test_depth(void **state)
{
	char *text = malloc(8 * (JSON_MAX_DEPTH + 2));

	(void)state;
	assert_non_null(text);
	for (int objects = 0; objects < 2; objects++) {
		for (size_t depth = JSON_MAX_DEPTH - 1; depth <= JSON_MAX_DEPTH + 1; depth++) {
			int expected = depth <= JSON_MAX_DEPTH ? 0 : -E2BIG;
			size_t len = nest(text, depth, objects, "");

			assert_int_equal(scan(text, len, NULL), expected);
			len = nest(text, depth, objects, "1");
			assert_int_equal(scan(text, len, NULL), expected);
		}
	}
	memset(text, '[', JSON_MAX_DEPTH);
	assert_int_equal(scan(text, JSON_MAX_DEPTH, NULL), -EINVAL); /* deep enough, but cut off */
	free(text);
}

/* Objects and arrays by turns: each level must be closed by its own bracket. */
static void test_depth_mixed(void **state)
{
	char *text = malloc(8 * JSON_MAX_DEPTH), *p = text, *closing;

	(void)state;
	assert_non_null(text);
	for (int i = 0; i < JSON_MAX_DEPTH; i++)
		p = stpcpy(p, i % 3 ? "[" : "{\"a\":");
	p = stpcpy(p, "0");
	closing = p;
	for (int i = JSON_MAX_DEPTH - 1; i >= 0; i--)
		*p++ = i % 3 ? ']' : '}';
	assert_int_equal(scan(text, (size_t)(p - text), NULL), 0);
	for (char *c = closing; c < p; c++) {
		*c ^= ']' ^ '}';
		assert_int_equal(scan(text, (size_t)(p - text), NULL), -EINVAL);
		*c ^= ']' ^ '}';
	}
	free(text);
}

/* Depth is what is open at once, not how many containers there are. */
static void test_wide(void **state)
{
	size_t count = 3 * JSON_MAX_DEPTH;
	char *text = malloc(4 * count + 2), *p = text;

	(void)state;
	assert_non_null(text);
	*p++ = '[';
	for (size_t i = 0; i < count; i++)
		p = stpcpy(p, i % 2 ? "[]," : "{},");
	p[-1] = ']';
	assert_int_equal(scan(text, (size_t)(p - text), NULL), 0);
	free(text);
}

static struct json_span span_of(const char *text)
{
	return (struct json_span){.at = text, .len = text ? strlen(text) : 0};
}

static const struct {
	const char *string; /* NULL: absent */
	const char *ascii;
	bool is, starts;
} comparisons[] = {
	{"\"abc\"", "abc", true, true},
	{"\"abc\"", "ab", false, true},
	{"\"abc\"", "abcd", false, false},
	{"\"abc\"", "abd", false, false},
	{"\"abc\"", "", false, true},
	{"\"\"", "", true, true},
	{"\"\"", "a", false, false},
	{"\"\\u0061\\u0062c\"", "abc", true, true},
	{"\"a\\u0062\\u0063\"", "ab", false, true},
	{"\"\\u004a\\u004A\"", "JJ", true, true},
	{"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", true, true},
	{"\"a\\\"\"", "a", false, true},
	{"\"a\\u0000\"", "a", false, true},
	{"\"\\u0000\"", "", false, true},
	{"\"\\u0161\"", "a", false, false},
	{"\"\\ud800\"", "", false, true},
	{"\"\\ud800\"", "\x20", false, false},
	{"\"a\xff\"", "a", false, true},
	{NULL, "", false, false},
	{NULL, "a", false, false},
	{"17", "17", false, false},
	{"{}", "", false, false},
};

static void test_comparisons(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(comparisons); i++) {
		struct json_span span = span_of(comparisons[i].string);

		if (json_string_is(span, comparisons[i].ascii) != comparisons[i].is)
			fail_msg("comparisons[%zu] is", i);
		if (json_string_starts(span, comparisons[i].ascii) != comparisons[i].starts)
			fail_msg("comparisons[%zu] starts", i);
	}
}

static const struct {
	const char *text;
	bool internal;
} internals[] = {
	{"{\"cmd\":\"NODE_CLUSTER\"}", true},
	{"{\"cmd\":\"NODE_X\"}", true},
	{"{\"cmd\":\"NODE_\"}", false},
	{"{\"cmd\":\"NODE\"}", false},
	{"{\"cmd\":\"node_CLUSTER\"}", false},
	{"{\"cmd\":\" NODE_CLUSTER\"}", false},
	{"{\"cmd\":\"\\u004eODE_CLUSTER\"}", true},
	{"{\"\\u0063md\":\"NODE\\u005fX\"}", true},
	{"{\"cmd\":\"NODE_\\u0000\"}", true},
	{"{\"cmd\":\"NODE_\\ud800\"}", true},
	{"{\"cmd\":\"NODE_\xff\"}", true},
	{"{\"cmd\":\"NODE_\\\"\"}", true},
	{"{\"cmd\":\"NODE_A\",\"cmd\":\"mine\"}", false},
	{"{\"cmd\":\"NODE_A\",\"cmd\":5}", false},
	{"{\"cmd\":5,\"cmd\":\"NODE_A\"}", true},
	{"{\"cmd\":[\"NODE_A\"]}", false},
	{"{\"a\":{\"cmd\":\"NODE_A\"}}", false},
	{"{\"msg\":\"NODE_A\"}", false},
	{"[\"NODE_A\"]", false},
	{"\"NODE_A\"", false},
	{"null", false},
	{"{}", false},
};

static void test_internal(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(internals); i++) {
		struct json_top top;

		assert_int_equal(scan(internals[i].text, strlen(internals[i].text), &top), 0);
		if (json_is_internal(&top) != internals[i].internal)
			fail_msg("%s", internals[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_control_characters),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_untouched_when_refused),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_depth_mixed),
		cmocka_unit_test(test_wide),
		cmocka_unit_test(test_comparisons),
		cmocka_unit_test(test_internal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
