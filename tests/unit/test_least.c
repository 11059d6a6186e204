/* Who serves a new connection first, as a table; and how long one takes. */
#include "net/least.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FULL {.room = LEAST_FULL}
#define FREE LEAST_FREE
#define BUSY LEAST_BUSY
#define HUGE_US UINT64_MAX

static const struct {
	const char *what;
	unsigned count, last;
	struct least_candidate candidates[4];
	int expected;
} table[] = {
    {"nobody", 0, 0, {FULL}, -1},
    {"nobody, and a last one", 0, 7, {FULL}, -1},
    {"one", 1, 0, {{FREE, 9, 9, 9}}, 0},
    {"one, full", 1, 0, {FULL}, -1},
    {"all full", 3, 1, {FULL, FULL, FULL}, -1},
    {"equals take turns", 3, 0, {{FREE, 0, 0, 0}, {FREE, 0, 0, 0}, {FREE, 0, 0, 0}}, 1},
    {"equals, round the end", 3, 2, {{FREE, 0, 5, 1}, {FREE, 0, 5, 1}, {FREE, 0, 5, 1}}, 0},
    {"equals, some full", 4, 0, {{FREE, 1, 5, 0}, FULL, FULL, {FREE, 1, 5, 0}}, 3},
    {"last is not there any more", 3, 10, {{FREE, 0, 0, 0}, {FREE, 0, 0, 0}, {FREE, 0, 0, 0}}, 2},
    {"last is as far as it goes", 3, UINT_MAX, {{FREE, 0, 0, 0}, {FREE, 0, 0, 0}, {FREE, 0, 0, 0}}, 1},
    {"fewest in hand", 3, 0, {{FREE, 2, 0, 0}, {FREE, 3, 0, 0}, {FREE, 1, 0, 0}}, 2},
    {"the shorter wait: 3 x 1000 before 1 x 10000", 2, 0, {{FREE, 2, 1000, 0}, {FREE, 0, 10000, 0}}, 0},
    {"but 13 x 1000 after it", 2, 1, {{FREE, 12, 1000, 0}, {FREE, 0, 10000, 0}}, 1},
    {"equal waits, 2 x 10 and 1 x 20: the rotation", 2, 0, {{FREE, 1, 10, 0}, {FREE, 0, 20, 0}}, 1},
    {"the last one itself, when it is best", 3, 1, {{FREE, 1, 5, 0}, {FREE, 0, 5, 0}, {FREE, 1, 5, 0}}, 1},
    {"a full one, however short its wait", 2, 0, {{LEAST_FULL, 0, 1, 0}, {FREE, 9, 900, 0}}, 1},
    {"a busy one is waited for", 2, 0, {{BUSY, 0, 10, 0}, {FREE, 9, 900, 0}}, 0},
    {"but not for a little", 2, 1, {{BUSY, 0, 80, 0}, {FREE, 0, 100, 0}}, 1},
    {"a quarter more is the same, and the rotation decides", 2, 1, {{FREE, 0, 125, 0}, {FREE, 0, 100, 0}}, 0},
    {"more is not", 2, 1, {{FREE, 0, 126, 0}, {FREE, 0, 100, 0}}, 1},
    {"unknown counts as the mean of 100 and 300: 200 after 100", 3, 0,
     {{FREE, 0, 100, 0}, {FREE, 0, 0, 0}, {FREE, 0, 300, 0}}, 0},
    {"200 before 300", 3, 0, {{LEAST_FULL, 0, 100, 0}, {FREE, 0, 0, 0}, {FREE, 0, 300, 0}}, 1},
    {"2 x 200 after 300", 3, 0, {{LEAST_FULL, 0, 100, 0}, {FREE, 1, 0, 0}, {FREE, 0, 300, 0}}, 2},
    {"mean of 2, 2, 3 is 2, not 1", 4, 2,
     {{FREE, 0, 2, 0}, {FREE, 0, 2, 0}, {FREE, 0, 0, 0}, {FREE, 0, 3, 0}}, 0},
    {"least cpu of equal waits", 3, 0, {{FREE, 0, 0, 7}, {FREE, 0, 0, 8}, {FREE, 0, 0, 6}}, 2},
    {"cpu is not asked before the wait", 2, 1, {{FREE, 0, 10, HUGE_US}, {FREE, 1, 10, 0}}, 0},
    {"equal cpu: the rotation", 3, 1, {{FREE, 0, 0, 7}, {FREE, 0, 0, 7}, {FREE, 0, 0, 7}}, 2},
    {"huge is longer than small", 2, 0, {{FREE, 0, 1, 0}, {FREE, UINT_MAX, HUGE_US, 0}}, 0},
    {"2 x 2^63 is not 0", 2, 1, {{FREE, 1, 1ull << 63, 0}, {FREE, 0, 1000, 0}}, 1},
    {"in hand as many as there are: not 0 of them", 2, 0, {{FREE, 0, 9, 0}, {FREE, UINT_MAX, 9, 0}}, 0},
    {"the mean of two huge ones is huge", 4, 1,
     {{FREE, 0, HUGE_US, 0}, {LEAST_FULL, 0, HUGE_US, 0}, {FREE, 0, 0, 0}, {FREE, 7, HUGE_US / 16, 0}}, 3},
    {"and not less than one of them", 3, 2,
     {{FREE, 0, HUGE_US - 1, 0}, {FREE, 0, HUGE_US - 1, 0}, {FREE, 0, 0, 1}}, 0},
    {"both beyond measure: cpu", 2, 0, {{FREE, 3, HUGE_US, 1}, {FREE, 2, HUGE_US, 2}}, 0},
};

static void test_choose(void **state)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int got = least_choose(table[i].candidates, table[i].count, table[i].last);

		if (got != table[i].expected)
			fail_msg("%s: %d, not %d", table[i].what, got, table[i].expected);
	}
}

static void test_equal_shares(void **state)
{
	struct least_candidate candidates[5] = {{.mean_us = 40}, {.mean_us = 40}, FULL, {0}, {0}};
	unsigned got[5] = {0}, last = 0;

	for (int i = 0; i < 400; i++)
		got[last = (unsigned)least_choose(candidates, 5, last)]++;
	assert_int_equal(got[2], 0);
	for (int i = 0; i < 5; i++)
		if (i != 2)
			assert_int_equal(got[i], 100);
}

/* Ten times slower: it gets its second connection when the others have ten each. */
static void test_slow_one(void **state)
{
	struct least_candidate candidates[3] = {{.mean_us = 1000}, {.mean_us = 10000}, {.mean_us = 1000}};
	unsigned last = 0;

	for (int i = 0; i < 42; i++) {
		last = (unsigned)least_choose(candidates, 3, last);
		candidates[last].in_hand++;
	}
	assert_int_equal(candidates[0].in_hand, 20);
	assert_int_equal(candidates[1].in_hand, 2);
	assert_int_equal(candidates[2].in_hand, 20);
}

static const struct {
	const char *what;
	uint64_t mean_us;
	struct least_sample before, now;
	unsigned active;
	uint64_t expected;
} means[] = {
    {"nothing is known, nothing happened", 0, {0, 0}, {0, 0}, 0, 0},
    {"the first ones", 0, {0, 0}, {10, 1000}, 0, 100},
    {"half and half", 100, {10, 1000}, {20, 4000}, 0, 200},
    {"down as well", 200, {0, 0}, {10, 1000}, 0, 150},
    {"two odd ones", 3, {0, 0}, {1, 5}, 0, 4},
    {"the same stays", 7, {0, 0}, {3, 21}, 0, 7},
    {"in no time: never 0", 1, {0, 0}, {5, 0}, 0, 1},
    {"the first in no time: known", 0, {0, 0}, {5, 0}, 0, 1},
    {"idle: stays", 100, {5, 500}, {5, 500}, 0, 100},
    {"nothing runs, whatever the sum does", 100, {5, 500}, {5, 9000}, 0, 100},
    {"runs, not longer than usual: stays", 150, {5, 500}, {5, 700}, 2, 150},
    {"runs longer: they share it", 100, {5, 500}, {5, 1100}, 3, 200},
    {"runs, and nothing was known", 0, {0, 0}, {0, 900}, 3, 300},
    {"began to run just now", 0, {0, 0}, {0, 2}, 3, 0},
    {"who runs does not count when some finished", 100, {0, 0}, {1, 100}, 50, 100},
    {"sums wrap around", 100, {UINT64_MAX - 4, UINT64_MAX - 999}, {5, 2000}, 0, 200},
    {"the time went back a little: nothing", 100, {5, 500}, {6, 499}, 0, 50},
    {"the time went back, one runs", 100, {5, 500}, {5, 499}, 1, 100},
    {"fewer finished than before: nothing was", 100, {6, 500}, {5, 900}, 0, 100},
    {"huge", UINT64_MAX, {0, 0}, {1, INT64_MAX}, 0, UINT64_MAX / 2 + INT64_MAX / 2 + 1},
};

static void test_mean(void **state)
{
	for (size_t i = 0; i < sizeof(means) / sizeof(means[0]); i++) {
		uint64_t got = least_mean(means[i].mean_us, &means[i].before, &means[i].now, means[i].active);

		if (got != means[i].expected)
			fail_msg("%s: %llu, not %llu", means[i].what, (unsigned long long)got,
				 (unsigned long long)means[i].expected);
	}
}

/* It follows: ten looks after a change the mean is the new one. */
static void test_mean_follows(void **state)
{
	struct least_sample before = {0, 0}, now = {0, 0};
	uint64_t mean_us = 1000000;

	for (int i = 0; i < 20; i++) {
		now.finished += 10;
		now.service_us += 10 * 500;
		mean_us = least_mean(mean_us, &before, &now, 0);
		before = now;
		if (i == 9)
			assert_in_range(mean_us, 500, 1500);
	}
	assert_in_range(mean_us, 500, 501);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_choose),
	    cmocka_unit_test(test_equal_shares),
	    cmocka_unit_test(test_slow_one),
	    cmocka_unit_test(test_mean),
	    cmocka_unit_test(test_mean_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
