/* Settings are checked and copied; a worker's environment is built from several, and a generation's from
 * that of the one before. */
#include "program/generation.h"
#include "program/settings.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
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
	bad = s, bad.stdio[2] = -5;
	expect_refused(bad, "stdio[2]");
	bad = s, bad.stdio[4] = UMBEL_STDIO_CHANNEL;
	expect_refused(bad, "2 places");
	bad = s, bad.stdio[3] = UMBEL_STDIO_NONE;
	expect_refused(bad, "0 places");
	bad = s, bad.policy = (enum umbel_policy)(UMBEL_SHARED + 1);
	expect_refused(bad, "policy");
	bad = s, bad.policy = UMBEL_SPREAD, bad.max_connections = 10;
	expect_refused(bad, "max_connections");
	bad = s, bad.policy = UMBEL_STICKY, bad.recycle_connections = 10;
	expect_refused(bad, "recycle_connections");
	bad = s, bad.listen = (char *[]){"tcp://:80", "tcp://:80?mode=1", NULL};
	expect_refused(bad, "tcp://:80?mode=1");
	bad = s, bad.pass_fds = (const int[]){0, 9999, -1};
	expect_refused(bad, "9999");
	bad = s, bad.no_share = (char *[]){"tcp://:80", "tcp:80", NULL};
	expect_refused(bad, "settings.no_share: 'tcp:80'");
	bad = s, bad.ready_command = (char *[]){NULL};
	expect_refused(bad, "ready_command");
	bad = s, bad.spares = SETTINGS_SPARES_MOST + 1;
	expect_refused(bad, "spares");
	bad = s, bad.spares = bad.ready_after_ms = 1;
	expect_refused(bad, "spares");
	bad = s, bad.uid = -2;
	expect_refused(bad, "uid");
	bad = s, bad.env = env;
	expect_refused(bad, "novalue");
}

static void test_checks_of_life(void **state)
{
	static const int above[] = {0, 256, -1}, below[] = {3, -2, -1};
	static const char *const bad_messages[] = {"", "shutdown", "{", "1 2", "{\"a\":1},"};
	struct umbel_settings s = UMBEL_SETTINGS, bad;

	(void)state;
	bad = s, bad.restart = (enum umbel_restart)(UMBEL_RESTART_NEVER + 1);
	expect_refused(bad, "restart");
	bad = s, bad.restart = (enum umbel_restart)-1;
	expect_refused(bad, "restart");
	bad = s, bad.stop_signal = 0;
	expect_refused(bad, "stop_signal");
	bad = s, bad.stop_signal = -1;
	expect_refused(bad, "stop_signal");
	bad = s, bad.stop_signal = NSIG;
	expect_refused(bad, "stop_signal");
	bad = s, bad.surge = 0;
	expect_refused(bad, "surge");
	bad = s, bad.stop_codes = above;
	expect_refused(bad, "256");
	bad = s, bad.stop_codes = below;
	expect_refused(bad, "-2");
	for (size_t i = 0; i < sizeof(bad_messages) / sizeof(bad_messages[0]); i++) {
		bad = s, bad.stop_message = bad_messages[i];
		expect_refused(bad, "stop_message");
	}
}

static void test_allowed(void **state)
{
	static const int codes[] = {0, 255, -1}, none[] = {-1};
	static const int *const lists[] = {codes, none, NULL};
	static const char *const messages[] = {"\"shutdown\"", "{\"cmd\":\"bye\"}", "null", NULL};
	struct reason reason = {""};

	(void)state;
	for (int i = 0; i < 12; i++) {
		struct umbel_settings s = UMBEL_SETTINGS, copy;

		s.restart = (enum umbel_restart)(i % 3);
		s.stop_signal = i % 2 ? 1 : NSIG - 1;
		s.surge = i % 2 ? 1 : UMBEL_SURGE_ALL;
		s.stop_codes = lists[i % 3];
		s.stop_message = messages[i % 4];
		s.max_failures = s.ready_ms = s.grace_ms = s.soak_ms = s.min_up_ms = i % 2 ? 0 : UINT32_MAX;
		s.ready_after_ms = s.linger_ms = i % 2 ? 0 : UINT32_MAX;
		s.spares = i % 2 ? SETTINGS_SPARES_MOST : 0;
		s.share_udp = i % 2;
		s.recycle_bytes = s.recycle_age_ms = s.recycle_connections = i % 2 ? 0 : UINT64_MAX;
		assert_int_equal(settings_copy(&s, &copy, &reason), 0);
		settings_finish(&copy);
	}
}

static void test_copy_is_deep(void **state)
{
	char exec[] = "node", value[] = "A=1", *env[] = {value, NULL}, message[] = "\"shutdown\"";
	char address[] = "tcp://:80", *no_share[] = {address, NULL}, probe[] = "probe", *command[] = {probe, NULL};
	int codes[] = {0, 3, -1};
	struct umbel_settings s = UMBEL_SETTINGS, copy;
	struct reason reason;

	(void)state;
	s.exec = exec;
	s.env = env;
	s.stop_message = message;
	s.stop_codes = codes;
	s.no_share = no_share;
	s.ready_command = command;
	assert_int_equal(settings_copy(&s, &copy, &reason), 0);
	exec[0] = value[0] = message[1] = address[0] = probe[0] = 'x';
	codes[0] = codes[1] = codes[2] = 7;
	assert_string_equal(copy.stop_message, "\"shutdown\"");
	assert_int_equal(copy.stop_codes[0], 0);
	assert_int_equal(copy.stop_codes[1], 3);
	assert_int_equal(copy.stop_codes[2], -1);
	assert_string_equal(copy.exec, "node");
	assert_string_equal(copy.env[0], "A=1");
	assert_null(copy.env[1]);
	assert_string_equal(copy.no_share[0], "tcp://:80");
	assert_null(copy.no_share[1]);
	assert_string_equal(copy.ready_command[0], "probe");
	assert_null(copy.ready_command[1]);
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
			"NODE_UNIQUE_IDS=ok", "NODE_APP_INSTANCE=4", NULL};
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
	assert_null(value_of(got, "NODE_APP_INSTANCE="));
	assert_null(value_of(got, "NODE_CHANNEL_FD="));
	assert_null(value_of(got, "LISTEN_FDS="));
	assert_null(value_of(got, "NOTIFY_SOCKET="));
	assert_null(value_of(got, "WATCHDOG_USEC="));
	strings_free(got);
}

/* ---- vectors ---- */

static size_t length(char **strings)
{
	size_t count = 0;

	while (strings[count])
		count++;
	return count;
}

static void test_merge(void **state)
{
	char *first[] = {"A=1", "B=1", "AB=1", "A=2", NULL}, *none[] = {NULL};
	char *second[] = {"B=", "C=x=y", "A", NULL};
	char *const *vectors[] = {NULL, first, none, second, NULL};
	char **got;

	(void)state;
	assert_int_equal(strings_merge(vectors, 5, &got), 0);
	assert_string_equal(value_of(got, "A="), "2");
	assert_string_equal(value_of(got, "B="), "");
	assert_string_equal(value_of(got, "AB="), "1");
	assert_string_equal(value_of(got, "C="), "x=y");
	first[0] = "X=9"; /* a copy */
	assert_null(value_of(got, "X="));
	strings_free(got);

	assert_int_equal(strings_merge(vectors, 0, &got), 0);
	assert_int_equal(length(got), 0);
	strings_free(got);
	assert_int_equal(strings_merge(vectors, 1, &got), 0);
	assert_int_equal(length(got), 0);
	strings_free(got);
}

/* Neither the order nor the number of names changes when a value does. */
static void test_merge_keeps_order(void **state)
{
	char *first[] = {"A=1", "B=1", "C=1", NULL}, *second[] = {"D=2", "B=2", NULL};
	char *const *vectors[] = {first, second};
	char **got;

	(void)state;
	assert_int_equal(strings_merge(vectors, 2, &got), 0);
	assert_int_equal(length(got), 4);
	assert_string_equal(got[0], "A=1");
	assert_string_equal(got[1], "B=2");
	assert_string_equal(got[2], "C=1");
	assert_string_equal(got[3], "D=2");
	strings_free(got);
}

/* ---- generations ---- */

static struct generation *create(const struct generation *from, uint32_t number, char *const *base,
				 char *const *more)
{
	struct generation *g;

	assert_int_equal(generation_create(from, number, base, more, &g), 0);
	assert_int_equal(g->number, number);
	assert_int_equal(g->references, 1);
	return g;
}

/* The first has the primary's environment: none of its own. */
static void test_first_generation(void **state)
{
	struct generation *g = create(NULL, 1, NULL, NULL);

	(void)state;
	assert_null(g->base);
	assert_true(!g->more || !g->more[0]);
	assert_ptr_equal(generation_ref(g), g);
	assert_int_equal(g->references, 2);
	generation_unref(g);
	assert_int_equal(g->references, 1);
	generation_unref(g);
	generation_unref(NULL);
}

/* A plain reload keeps what an earlier one brought; --env adds to it; --update-env replaces the base. */
static void test_next_generations(void **state)
{
	char a1[] = "A=1", *more[] = {a1, "B=1", NULL}, *more_later[] = {"B=2", "C=2", NULL};
	char *base[] = {"PATH=/new", "A=base", NULL};
	struct generation *one = create(NULL, 1, NULL, NULL), *two, *three, *four, *five;

	(void)state;
	two = create(one, 2, NULL, more);
	a1[2] = '9'; /* a copy */
	generation_unref(one);
	assert_null(two->base);
	assert_string_equal(value_of(two->more, "A="), "1");
	assert_string_equal(value_of(two->more, "B="), "1");

	three = create(two, 3, NULL, more_later);
	generation_unref(two); /* nothing is shared */
	assert_int_equal(length(three->more), 3);
	assert_string_equal(value_of(three->more, "A="), "1");
	assert_string_equal(value_of(three->more, "B="), "2");
	assert_string_equal(value_of(three->more, "C="), "2");

	four = create(three, 4, base, NULL);
	generation_unref(three);
	assert_int_equal(length(four->base), 2);
	assert_string_equal(value_of(four->base, "PATH="), "/new");
	five = create(four, 5, NULL, NULL);
	generation_unref(four);
	assert_string_equal(value_of(five->base, "PATH="), "/new");
	generation_unref(five);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_checks),
	    cmocka_unit_test(test_checks_of_life),
	    cmocka_unit_test(test_allowed),
	    cmocka_unit_test(test_copy_is_deep),
	    cmocka_unit_test(test_environment),
	    cmocka_unit_test(test_merge),
	    cmocka_unit_test(test_merge_keeps_order),
	    cmocka_unit_test(test_first_generation),
	    cmocka_unit_test(test_next_generations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
