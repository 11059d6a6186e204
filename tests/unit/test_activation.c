/* Which settings go with sockets that a program finds at its start. */
#include "life/activation.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char *one[] = {"tcp://:8000", NULL};

static void expect_refused(const struct umbel_settings *s, const char *what)
{
	struct reason reason = {""};

	assert_int_equal(activation_check(s, KIND_LISTEN_FDS, &reason), -EINVAL);
	assert_non_null(strstr(reason.text, what));
	for (int kind = KIND_AUTO; kind <= KIND_NONE; kind++) /* the others do without */
		if (kind != KIND_LISTEN_FDS)
			assert_int_equal(activation_check(s, (enum kind)kind, &reason), 0);
}

static void test_descriptors(void **state)
{
	struct umbel_settings s = UMBEL_SETTINGS, other;
	struct reason reason = {""};

	(void)state;
	s.listen = one;
	assert_int_equal(activation_check(&s, KIND_LISTEN_FDS, &reason), 0);
	other = s, other.stdio[3] = UMBEL_STDIO_NONE, other.stdio[7] = UMBEL_STDIO_CHANNEL;
	assert_int_equal(activation_check(&other, KIND_LISTEN_FDS, &reason), 0);
	other = s, other.stdio[4] = UMBEL_STDIO_PIPE;
	expect_refused(&other, "settings.stdio");
	other.listen = NULL; /* there are none */
	assert_int_equal(activation_check(&other, KIND_LISTEN_FDS, &reason), 0);
	other = s, other.stdio[7] = 0;
	expect_refused(&other, "settings.stdio");
	other = s, other.stdio[3] = UMBEL_STDIO_NONE, other.stdio[0] = UMBEL_STDIO_CHANNEL;
	expect_refused(&other, "the channel is behind them");
}

static void test_count(void **state)
{
	char *many[ACTIVATION_MOST + 2] = {NULL};
	struct umbel_settings s = UMBEL_SETTINGS;
	struct reason reason = {""};

	(void)state;
	s.listen = many;
	for (int i = 0; i < ACTIVATION_MOST; i++)
		many[i] = one[0];
	assert_int_equal(activation_check(&s, KIND_LISTEN_FDS, &reason), 0);
	many[ACTIVATION_MOST] = one[0];
	expect_refused(&s, "at most 16");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_descriptors),
	    cmocka_unit_test(test_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
