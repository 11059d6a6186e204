/* NODE_OPTIONS with our --require: as Node splits it again, at spaces, quotes and backslashes. */
#include "program/preload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *old_value, *path, *expected;
} values[] = {
    {"", "/p.cjs", "NODE_OPTIONS=--require \"/p.cjs\""},
    {"--max-old-space-size=100", "/p.cjs",
     "NODE_OPTIONS=--max-old-space-size=100 --require \"/p.cjs\""},
    {"--require \"/their own.js\"", "/p.cjs",
     "NODE_OPTIONS=--require \"/their own.js\" --require \"/p.cjs\""},
    {"", "/with a space/p.cjs", "NODE_OPTIONS=--require \"/with a space/p.cjs\""},
    {"", "/a\"b/p.cjs", "NODE_OPTIONS=--require \"/a\\\"b/p.cjs\""},
    {"", "/a\\b/p.cjs", "NODE_OPTIONS=--require \"/a\\\\b/p.cjs\""},
    {"", "\\\"\\\"", "NODE_OPTIONS=--require \"\\\\\\\"\\\\\\\"\""},
    {"", "/\xc3\xa9't$x`/p.cjs", "NODE_OPTIONS=--require \"/\xc3\xa9't$x`/p.cjs\""},
};

static void test_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(values); i++) {
		char *text = preload_value(values[i].old_value, values[i].path);

		assert_non_null(text);
		assert_string_equal(text, values[i].expected);
		free(text);
	}
}

/* Node's rule (ParseNodeOptionsEnvVar): the last word of a value, unquoted; NULL: a quote stays open. */
static const char *last_word(const char *value, char *ret)
{
	bool in_quotes = false;
	char *p = ret;

	for (; *value; value++) {
		if (*value == '\\' && in_quotes && value[1])
			*p++ = *++value;
		else if (*value == ' ' && !in_quotes)
			p = ret;
		else if (*value == '"')
			in_quotes = !in_quotes;
		else
			*p++ = *value;
	}
	*p = '\0';
	return in_quotes ? NULL : ret;
}

/* Whatever is in the path, Node finds it again. */
static void test_node_reads_it(void **state)
{
	static const char bytes[] = "a \"\\'/\t";
	enum { LENGTH = 5 };
	unsigned paths = 1;

	(void)state;
	for (int i = 0; i < LENGTH; i++)
		paths *= sizeof(bytes) - 1;
	for (unsigned n = 0; n < paths; n++) {
		char path[LENGTH + 1] = "", word[256], *text;
		unsigned rest = n;

		for (int i = 0; i < LENGTH; i++, rest /= sizeof(bytes) - 1)
			path[i] = bytes[rest % (sizeof(bytes) - 1)];
		text = preload_value("--x=\"y z\"", path);
		assert_non_null(text);
		assert_non_null(last_word(strchr(text, '=') + 1, word));
		assert_string_equal(word, path);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_node_reads_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
