/* Each worker's own limit, and how often memory is looked at. */
#include "primary/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* From the last tenth below the limit, both ends included; never above it, and never 0. */
static void test_spread(void **state)
{
	static const uint64_t limits[] = {1,   2,    9,          10,         11,        99,      100,
					  101, 1000, 60000, 300 << 20, UINT32_MAX, (uint64_t)64 << 40,
					  UINT64_MAX};

	(void)state;
	for (size_t i = 0; i < COUNT(limits); i++) {
		uint64_t limit = limits[i], lowest = limit - limit / 10;

		for (uint32_t chance = 0; chance < 10000; chance++) {
			uint64_t got = limits_spread(limit, chance);

			assert_true(got >= lowest && got <= limit && got > 0);
		}
		assert_true(limits_spread(limit, UINT32_MAX) >= lowest);
		assert_true(limits_spread(limit, UINT32_MAX) <= limit);
		assert_true(limits_spread(limit, 0) == limit);
		if (limit / 10 <= UINT32_MAX)
			assert_true(limits_spread(limit, (uint32_t)(limit / 10)) == lowest);
	}
}

/* Workers of different chance do not all go at once: the ten parts of the last tenth are alike full. */
static void test_spread_is_even(void **state)
{
	enum { LIMIT = 100000, TRIES = 100000 };
	unsigned parts[10] = {0};
	uint32_t chance = 1;

	(void)state;
	for (int i = 0; i < TRIES; i++) {
		uint64_t below;

		chance = chance * 1664525 + 1013904223;
		below = LIMIT - limits_spread(LIMIT, chance >> 8);
		parts[below < LIMIT / 10 ? below / (LIMIT / 100) : 9]++;
	}
	for (size_t i = 0; i < COUNT(parts); i++)
		assert_in_range(parts[i], TRIES / 11, TRIES / 9);
}

/* About 10 us for each reading: never more than a thousandth of the time. */
static void test_period(void **state)
{
	uint64_t before = 0;

	(void)state;
	for (unsigned workers = 0; workers <= 2048; workers++) {
		uint64_t ms = limits_period_ms(workers);

		assert_true(ms >= 1000 && ms > before);
		assert_true(workers * 10ULL <= ms * 1000 / 1000); /* us of reading, us of a thousandth */
		before = ms;
	}
	assert_true(limits_period_ms(10) <= 2000); /* soon enough for a few */
	assert_true(limits_period_ms(1024) <= 15000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_spread),
	    cmocka_unit_test(test_spread_is_even),
	    cmocka_unit_test(test_period),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
