/* Settings are checked and copied; a worker's environment is built from several. */
#include "primary/settings.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_refused(struct umbel_settings s, const char *named)
{
	struct umbel_settings copy;
	struct reason reason = {""};

	assert_int_equal(settings_copy(&s, &copy, &reason), -EINVAL);
	assert_non_null(strstr(reason.text, named));
}

static void test_checks(void **state)
{
	struct umbel_settings s = UMBEL_SETTINGS, bad;
	char *env[] = {"A=1", "novalue", NULL};

	(void)state;
	bad = s, bad.size = 8;
	expect_refused(bad, "size");
	bad = s, bad.window = 0;
	expect_refused(bad, "window");
	bad = s, bad.window = 65;
	expect_refused(bad, "window");
	bad = s, bad.max_message = 1023;
	expect_refused(bad, "max_message");
	bad = s, bad.stdio[2] = -3;
	expect_refused(bad, "stdio[2]");
	bad = s, bad.uid = -2;
	expect_refused(bad, "uid");
	bad = s, bad.env = env;
	expect_refused(bad, "novalue");
}

static void test_copy_is_deep(void **state)
{
	char exec[] = "node", value[] = "A=1", *env[] = {value, NULL};
	struct umbel_settings s = UMBEL_SETTINGS, copy;
	struct reason reason;

	(void)state;
	s.exec = exec;
	s.env = env;
	assert_int_equal(settings_copy(&s, &copy, &reason), 0);
	exec[0] = value[0] = 'x';
	assert_string_equal(copy.exec, "node");
	assert_string_equal(copy.env[0], "A=1");
	assert_null(copy.env[1]);
	settings_finish(&copy);
}

static const char *value_of(char **environment, const char *name)
{
	for (; *environment; environment++)
		if (strncmp(*environment, name, strlen(name)) == 0)
			return *environment + strlen(name);
	return NULL;
}

static void test_environment(void **state)
{
	char *base[] = {"PATH=/bin",          "NODE_UNIQUE_ID=3", "NODE_CHANNEL_FD=3",
			"LISTEN_FDS=1",       "UMBEL_SLOT=9",     "NOTIFY_SOCKET=/x",
			"WATCHDOG_USEC=1",    "NODE_ENV=test",    "LISTENER=kept",
			"NODE_UNIQUE_IDS=ok", NULL};
	char *first[] = {"NODE_ENV=production", "X=1", NULL}, *second[] = {"X=2", "UMBEL_SLOT=1", NULL};
	char *const *more[] = {first, NULL, second};
	char **got;

	(void)state;
	assert_int_equal(environment_build(base, more, 3, &got), 0);
	assert_string_equal(value_of(got, "PATH="), "/bin");
	assert_string_equal(value_of(got, "NODE_ENV="), "production");
	assert_string_equal(value_of(got, "X="), "2");
	assert_string_equal(value_of(got, "UMBEL_SLOT="), "1");
	assert_string_equal(value_of(got, "LISTENER="), "kept");
	assert_string_equal(value_of(got, "NODE_UNIQUE_IDS="), "ok");
	assert_null(value_of(got, "NODE_UNIQUE_ID="));
	assert_null(value_of(got, "NODE_CHANNEL_FD="));
	assert_null(value_of(got, "LISTEN_FDS="));
	assert_null(value_of(got, "NOTIFY_SOCKET="));
	assert_null(value_of(got, "WATCHDOG_USEC="));
	strings_free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_checks),
	    cmocka_unit_test(test_copy_is_deep),
	    cmocka_unit_test(test_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
