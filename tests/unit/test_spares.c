/* When the next spare is started after one has died. */
#include "primary/spares.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { CHANCES = 1000 };

/* Never at once: a successor may have the CPU. Then as slots wait: 100 ms doubled up to 30 s, spread by a fifth. */
static void test_delay(void **state)
{
	static const struct {
		unsigned ends;
		uint32_t least_ms, most_ms;
	} table[] = {{0, 200, 200},   {1, 200, 200},   {2, 200, 200},      {3, 200, 240},
		     {4, 320, 480},   {5, 640, 960},   {11, 24000, 36000}, {1000, 24000, 36000}};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		for (uint32_t chance = 0; chance < CHANCES; chance++)
			assert_in_range(spares_delay_ms(table[i].ends, chance * 4294967u), table[i].least_ms,
					table[i].most_ms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_delay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
