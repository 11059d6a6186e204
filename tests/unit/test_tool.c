/* What people write behind an option of the command: times, sizes, counts, signals, names. */
#include "tool.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const no_numbers[] = {"",    " ",   "-",    "+",   "x",   "-x",  " 1",  "1 ", "+1",
					 "1.5", "0x10", "1,5", "1e3", "\t1", "1\n", "--1", "1-", "NaN"};

/* ---- times ---- */

static void test_duration(void **state)
{
	static const struct {
		const char *text;
		uint32_t ms;
	} good[] = {
	    {"0", 0},          {"0s", 0},         {"0ms", 0},           {"1ms", 1},
	    {"1500ms", 1500},  {"7", 7000},       {"7s", 7000},         {"30s", 30000},
	    {"2m", 120000},    {"1h", 3600000},   {"007s", 7000},       {"596h", 596u * 3600000},
	    {"2147483647ms", INT_MAX},            {"2147483s", 2147483000}, {"35791m", 35791u * 60000},
	};
	static const char *const bad[] = {"ms",   "s",     "-1s",          "1S",        "1M",        "1H",
					  "1d",   "1 s",   "1s ",          "1ss",       "1m30s",     "1.5s",
					  "1sec", "2147483648ms", "2147484s", "35792m", "597h",
					  "18446744073709551616ms", "18446744073709551617s",
					  "99999999999999999999999999h"};
	uint32_t ms = 42;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(parse_duration(good[i].text, &ms), 0);
		assert_int_equal(ms, good[i].ms);
	}
	ms = 42;
	for (size_t i = 0; i < COUNT(bad); i++)
		if (parse_duration(bad[i], &ms) != -EINVAL)
			fail_msg("'%s' is a time: %u ms", bad[i], ms);
	for (size_t i = 0; i < COUNT(no_numbers); i++)
		assert_int_equal(parse_duration(no_numbers[i], &ms), -EINVAL);
	assert_int_equal(ms, 42); /* untouched */
}

/* ---- numbers ---- */

static void test_number(void **state)
{
	uint64_t value = 42;

	(void)state;
	for (size_t i = 0; i < COUNT(no_numbers); i++)
		assert_int_equal(parse_number(no_numbers[i], UINT64_MAX, &value), -EINVAL);
	assert_int_equal(parse_number("-1", UINT64_MAX, &value), -EINVAL);
	assert_int_equal(parse_number("8", 7, &value), -EINVAL);
	assert_int_equal(parse_number("1", 0, &value), -EINVAL);
	assert_int_equal(parse_number("18446744073709551616", UINT64_MAX, &value), -EINVAL);
	assert_int_equal(value, 42);
	assert_int_equal(parse_number("7", 7, &value), 0);
	assert_int_equal(value, 7);
	assert_int_equal(parse_number("0", 0, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(parse_number("010", 100, &value), 0);
	assert_int_equal(value, 10);
	assert_int_equal(parse_number("18446744073709551615", UINT64_MAX, &value), 0);
	assert_true(value == UINT64_MAX);
}

static void test_size(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
	    {"1", 1},
	    {"1048576", 1 << 20},
	    {"64K", 64 << 10},
	    {"64k", 64 << 10},
	    {"300M", 300 << 20},
	    {"2G", (uint64_t)2 << 30},
	    {"2g", (uint64_t)2 << 30},
	    {"1T", (uint64_t)1 << 40},
	    {"16777215T", (uint64_t)16777215 << 40},
	    {"18446744073709551615", UINT64_MAX},
	    {"18014398509481983K", (uint64_t)18014398509481983 << 10},
	};
	static const char *const bad[] = {"0",    "0K",    "K",        "-1M",      "1KB",  "1MiB", "1X", "1P",
					  "1 M",  "1M ",   "1.5G",     "M1",       "1MM",  "1\xb5",
					  "16777216T", "18014398509481984K", "18446744073709551616",
					  "00000000000000000000000000000001",
					  "999999999999999999999999999999999999M"};
	uint64_t bytes = 42;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		if (parse_size(bad[i], &bytes) != -EINVAL)
			fail_msg("'%s' is a size", bad[i]);
	for (size_t i = 0; i < COUNT(no_numbers); i++)
		assert_int_equal(parse_size(no_numbers[i], &bytes), -EINVAL);
	assert_int_equal(bytes, 42);
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(parse_size(good[i].text, &bytes), 0);
		assert_true(bytes == good[i].bytes);
	}
}

/* PM2's way: 0 and max are every CPU, -k leaves k of them. */
static void test_count(void **state)
{
	static const struct {
		const char *text;
		int cpus, count;
	} good[] = {
	    {"1", 4, 1},   {"4", 2, 4},   {"1024", 2, 1024}, {"max", 4, 4},  {"0", 4, 4},   {"-1", 4, 3},
	    {"-3", 4, 1},  {"-4", 4, 1},  {"-5", 4, 1},      {"max", 1, 1},  {"-0", 4, 4},  {"-1", 1, 1},
	    {"-2000", 4, 1}, {"-9223372036854775808", 4, 1},
	};
	static const char *const bad[] = {"Max", "max ", "maximum", "auto", "1x", "-1x", "4.0"};
	static const char *const over[] = {"1025", "99999999999", "99999999999999999999",
					   "-99999999999999999999"};
	int count = 42;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(parse_count(bad[i], 4, &count), -EINVAL);
	for (size_t i = 0; i < COUNT(no_numbers); i++)
		assert_int_equal(parse_count(no_numbers[i], 4, &count), -EINVAL);
	for (size_t i = 0; i < COUNT(over); i++)
		assert_int_equal(parse_count(over[i], 4, &count), -ERANGE);
	assert_int_equal(count, 42);
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(parse_count(good[i].text, good[i].cpus, &count), 0);
		assert_int_equal(count, good[i].count);
	}
}

/* ---- signals ---- */

static void test_signal(void **state)
{
	static const char *const bad[] = {"0",    "-15",     "65",   "1000",  "SIG", "SIGSIGTERM", "term",
					  "Term", "sigterm", "TERM ", "15 ", "EXIT",
					  "99999999999999999999"};

	(void)state;
	assert_int_equal(parse_signal("TERM"), SIGTERM);
	assert_int_equal(parse_signal("SIGTERM"), SIGTERM);
	assert_int_equal(parse_signal("15"), SIGTERM);
	assert_int_equal(parse_signal("INT"), SIGINT);
	assert_int_equal(parse_signal("SIGUSR2"), SIGUSR2);
	assert_int_equal(parse_signal("WINCH"), SIGWINCH);
	assert_int_equal(parse_signal("64"), 64); /* a real-time signal has a number only */
	for (size_t i = 0; i < COUNT(bad); i++)
		if (parse_signal(bad[i]) != -EINVAL)
			fail_msg("'%s' is a signal", bad[i]);
	for (size_t i = 0; i < COUNT(no_numbers); i++)
		assert_int_equal(parse_signal(no_numbers[i]), -EINVAL);
}

/* ---- names ---- */

static void test_name(void **state)
{
	static const char *const good[] = {"a", "app", "App_1", "_", "0", "my-app.v2", "a.", "a-", "a..b"};
	static const char *const bad[] = {"",    ".",   "..",  ".a", "-a",       "--json",    "a/b",   "/",
					  "a b", "a\n", "a:b", "a*", "\xc3\xa9", "a\xc3\xa9", "a\x7f",
					  "a\x01"};
	char longest[66];

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(is_name(good[i]));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(is_name(bad[i]));
	memset(longest, 'x', sizeof(longest));
	longest[65] = '\0';
	assert_false(is_name(longest));
	longest[64] = '\0';
	assert_true(is_name(longest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_duration), cmocka_unit_test(test_number), cmocka_unit_test(test_size),
	    cmocka_unit_test(test_count),    cmocka_unit_test(test_signal), cmocka_unit_test(test_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
