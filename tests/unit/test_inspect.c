/* Which port a worker's debugger gets: found in Node's own options, counted up. */
#include "program/inspect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(int port, int at, char *const *options)
{
	int found = -1;

	assert_int_equal(inspect_port(options, &found), port);
	assert_int_equal(found, at);
}

static void test_options(void **state)
{
	expect(0, 0, (char *[]){"app.js", NULL});
	expect(0, 0, (char *[]){NULL});
	expect(9229, 1, (char *[]){"--inspect", "app.js", NULL});
	expect(9229, 1, (char *[]){"--inspect-brk", "app.js", NULL});
	expect(9229, 1, (char *[]){"--inspect-wait", "app.js", NULL});
	expect(9300, 1, (char *[]){"--inspect=9300", "app.js", NULL});
	expect(9300, 1, (char *[]){"--inspect=127.0.0.1:9300", "app.js", NULL});
	expect(9300, 1, (char *[]){"--inspect=[::1]:9300", "app.js", NULL});
	expect(9229, 1, (char *[]){"--inspect=0.0.0.0", "app.js", NULL});
	expect(9400, 2, (char *[]){"--inspect", "--inspect-port=9400", "app.js", NULL});
	expect(9400, 3, (char *[]){"--inspect", "--inspect-port", "9400", "app.js", NULL});
	expect(9229, 2, (char *[]){"--no-warnings", "--inspect", "app.js", NULL});
	expect(9229, 3, (char *[]){"-r", "./hook.js", "--inspect", "app.js", NULL});
}

/* What stands behind the script is the script's. */
static void test_of_the_script(void **state)
{
	expect(0, 0, (char *[]){"app.js", "--inspect", NULL});
	expect(0, 0, (char *[]){"--", "app.js", "--inspect", NULL});
	expect(0, 0, (char *[]){"--inspector-is-not-it", "app.js", NULL});
	expect(0, 0, (char *[]){"--inspect-publish-uid=http", "app.js", NULL});
}

/* Any free port: there is nothing to count. */
static void test_any_port(void **state)
{
	expect(0, 1, (char *[]){"--inspect=0", "app.js", NULL});
}

static void test_text(void **state)
{
	assert_int_equal(inspect_port_of_text(NULL), 0);
	assert_int_equal(inspect_port_of_text(""), 0);
	assert_int_equal(inspect_port_of_text("--max-old-space-size=100"), 0);
	assert_int_equal(inspect_port_of_text("--inspect"), 9229);
	assert_int_equal(inspect_port_of_text("--require x.js --inspect=9300 --no-warnings"), 9300);
}

static void test_count(void **state)
{
	assert_int_equal(inspect_port_after(9229, 1), 9230);
	assert_int_equal(inspect_port_after(65534, 1), 65535);
	assert_int_equal(inspect_port_after(65535, 1), 1024);
	assert_int_equal(inspect_port_after(65535, 3), 1026);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),  cmocka_unit_test(test_of_the_script),
		cmocka_unit_test(test_any_port), cmocka_unit_test(test_text),
		cmocka_unit_test(test_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
