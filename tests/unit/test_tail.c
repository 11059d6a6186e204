/* The last lines that somebody wrote, fit for a terminal. */
#include "tail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void add(struct tail *t, const char *text)
{
	tail_add(t, text, strlen(text));
}

static void test_nothing(void **state)
{
	static struct tail t;

	(void)state;
	assert_null(tail_line(&t, 0));
	assert_null(tail_line(&t, TAIL_LINES));
}

/* Oldest first, and never more than are kept. */
static void test_order(void **state)
{
	static struct tail t;

	(void)state;
	for (unsigned added = 1; added <= 5 * TAIL_LINES; added++) {
		unsigned kept = added < TAIL_LINES ? added : TAIL_LINES;
		char text[32];

		snprintf(text, sizeof(text), "line %u", added);
		add(&t, text);
		for (unsigned i = 0; i < kept; i++) {
			snprintf(text, sizeof(text), "line %u", added - kept + 1 + i);
			assert_string_equal(tail_line(&t, i), text);
		}
		assert_null(tail_line(&t, kept));
		assert_null(tail_line(&t, kept + 1));
	}
}

static void test_cut(void **state)
{
	static const size_t lengths[] = {0, 1, TAIL_WIDTH - 2, TAIL_WIDTH - 1, TAIL_WIDTH, 3 * TAIL_WIDTH};
	char text[3 * TAIL_WIDTH];

	(void)state;
	memset(text, 'x', sizeof(text)); /* no NUL at its end: len counts */
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		static struct tail t;
		size_t expected = lengths[i] < TAIL_WIDTH ? lengths[i] : TAIL_WIDTH - 1;

		tail_add(&t, text, lengths[i]);
		assert_int_equal(strlen(tail_line(&t, (unsigned)i)), expected);
	}
}

/* Every byte: what a terminal would obey, or a JSON parser refuse, is a question mark. */
static void test_bytes(void **state)
{
	static struct tail t;

	(void)state;
	for (int byte = 0; byte < 256; byte++) {
		char text[] = {'a', (char)byte, 'b'}, expected[] = "a?b";
		unsigned last = t.count < TAIL_LINES ? t.count : TAIL_LINES - 1;

		if (byte >= ' ' && byte <= '~')
			expected[1] = (char)byte;
		else if (byte == '\t')
			expected[1] = ' ';
		tail_add(&t, text, sizeof(text));
		assert_string_equal(tail_line(&t, last), expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
