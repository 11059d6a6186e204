/* Of which command lines Node's cluster makes a worker. */
#include "program/node_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *why, char *const *options)
{
	const char *found = node_words_no_worker(options);

	if (why)
		assert_non_null(found);
	else
		assert_null(found);
	if (why)
		assert_non_null(strstr(found, why));
}

static void test_scripts(void **state)
{
	(void)state;
	expect(NULL, (char *[]){"app.js", NULL});
	expect(NULL, (char *[]){"--no-warnings", "--max-old-space-size=100", "app.js", NULL});
	expect(NULL, (char *[]){"-r", "./hook.js", "app.js", NULL});
	expect(NULL, (char *[]){"--", "app.js", NULL});
	expect(NULL, (char *[]){"--", "--app.js", NULL});
	expect(NULL, (char *[]){"-e", "1", "word", NULL});
	expect(NULL, (char *[]){"--eval=1", "word", NULL});
}

/* What stands behind the script is the script's. */
static void test_of_the_script(void **state)
{
	(void)state;
	expect(NULL, (char *[]){"app.js", "-e", NULL});
	expect(NULL, (char *[]){"app.js", "--watch", NULL});
	expect(NULL, (char *[]){"--", "app.js", "--test", NULL});
}

static void test_no_script(void **state)
{
	static const char why[] = "without a script";

	(void)state;
	expect(why, (char *[]){NULL});
	expect(why, (char *[]){"--", NULL});
	expect(why, (char *[]){"-", NULL});
	expect(why, (char *[]){"-e", "app.js", NULL});
	expect(why, (char *[]){"-e", NULL});
	expect(why, (char *[]){"--eval", "--watch", NULL});
	expect(why, (char *[]){"--eval=app.js", NULL});
	expect(why, (char *[]){"-p", "app.js", NULL});
	expect(why, (char *[]){"-pe", "app.js", NULL});
	expect(why, (char *[]){"--print", "app.js", "--no-warnings", NULL});
	expect(why, (char *[]){"--input-type=module", "-e", "app.js", NULL});
	expect(why, (char *[]){"--input-type", "module", "-e", "app.js", NULL});
	expect(why, (char *[]){"-r", "./hook.js", "-e", "app.js", "--", NULL});
}

static void test_launchers(void **state)
{
	(void)state;
	expect("node --watch is a launcher", (char *[]){"--watch", "app.js", NULL});
	expect("node --watch-path is a launcher", (char *[]){"--watch-path=src", "app.js", NULL});
	expect("node --test is a launcher", (char *[]){"--test", NULL});
	expect("node --run is a launcher", (char *[]){"--run", "start", NULL});
	expect("node --run is a launcher", (char *[]){"--no-warnings", "--run=start", "--", "app.js", NULL});
	expect(NULL, (char *[]){"--watch-preserve-output", "app.js", NULL});
	expect(NULL, (char *[]){"--test-only", "app.js", NULL});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_of_the_script),
		cmocka_unit_test(test_no_script),
		cmocka_unit_test(test_launchers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
