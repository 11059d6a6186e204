/* Failures of a worker's calls: each is said once. */
#include "life/told.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void test_once(void **state)
{
	struct told t = {0};

	(void)state;
	told_works(&t, "bind", "tcp://:1"); /* nothing was said of it */
	assert_true(told_fails(&t, "bind", "tcp://:1", -EADDRINUSE));
	for (int i = 0; i < 1000; i++)
		assert_false(told_fails(&t, "bind", "tcp://:1", -EADDRINUSE));
	assert_true(told_fails(&t, "bind", "tcp://:2", -EADDRINUSE));
	assert_true(told_fails(&t, "listen", "tcp://:1", -EADDRINUSE));
	assert_true(told_fails(&t, "bind", "tcp://:1", -EACCES)); /* it is another one */
	assert_false(told_fails(&t, "bind", "tcp://:1", -EACCES));
	assert_true(told_fails(&t, "bind", "tcp://:1", -EADDRINUSE));
	assert_false(told_fails(&t, "bind", "tcp://:2", -EADDRINUSE));
	assert_int_equal(t.count, 3);

	told_works(&t, "bind", "tcp://:1");
	assert_int_equal(t.count, 2);
	assert_false(told_fails(&t, "listen", "tcp://:1", -EADDRINUSE));
	assert_true(told_fails(&t, "bind", "tcp://:1", -EADDRINUSE));
}

static void test_many(void **state)
{
	struct told t = {0};
	unsigned said = 0;
	char address[32];

	(void)state;
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 100; i++) {
			snprintf(address, sizeof(address), "tcp://:%u", i);
			said += told_fails(&t, "bind", address, -EADDRINUSE);
		}
	assert_int_equal(said, TOLD_MOST);
	told_works(&t, "bind", "tcp://:99");
	assert_int_equal(t.count, TOLD_MOST);
	told_works(&t, "bind", "tcp://:0");
	assert_true(told_fails(&t, "bind", "tcp://:99", -EADDRINUSE));
	assert_false(told_fails(&t, "bind", "tcp://:99", -EADDRINUSE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("told", tests, NULL, NULL);
}
