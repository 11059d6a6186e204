/* Whose turn it is, as a table. */
#include "net/rotation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int load_of(const void *seats, unsigned seat)
{
	return ((const int *)seats)[seat];
}

#define FULL ROTATION_FULL

static const struct {
	unsigned count, last;
	int loads[4];
	int expected;
} table[] = {
    {0, 0, {0}, -1},
    {1, 0, {0}, 0},
    {1, 0, {FULL}, -1},
    {3, 0, {0, 0, 0}, 1},
    {3, 1, {0, 0, 0}, 2},
    {3, 2, {0, 0, 0}, 0},
    {3, 0, {0, 1, 0}, 2},          /* who has one waits until the others have one */
    {3, 2, {1, 1, 1}, 0},          /* all have one: the rotation goes on */
    {3, 0, {2, 1, 1}, 1},
    {3, 0, {0, 3, 3}, 0},
    {3, 0, {FULL, FULL, FULL}, -1},
    {4, 0, {FULL, 3, FULL, 2}, 3},
    {4, 3, {FULL, FULL, 0, FULL}, 2},
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_int_equal(rotation_choose(table[i].loads, table[i].count, table[i].last, load_of),
				 table[i].expected);
}

static void test_equal_shares(void **state)
{
	int loads[4] = {0, 0, 0, 0};
	unsigned got[4] = {0, 0, 0, 0}, last = 0;

	(void)state;
	for (int i = 0; i < 400; i++)
		got[last = (unsigned)rotation_choose(loads, 4, last, load_of)]++;
	for (int i = 0; i < 4; i++)
		assert_int_equal(got[i], 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_equal_shares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
