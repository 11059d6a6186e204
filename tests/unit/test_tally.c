/* Counting addresses: the busiest, growing, and what comes when no more fit. */
#include "net/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* The n-th client: all of the address differs, or only its end, as within a network. */
static void address_of(unsigned n, int is_near, uint8_t ret[TALLY_ADDRESS])
{
	memset(ret, is_near ? 0 : (int)(n % 251), TALLY_ADDRESS);
	memcpy(ret + TALLY_ADDRESS - sizeof(n), &n, sizeof(n));
}

static void add(struct tally *t, unsigned n, unsigned times)
{
	uint8_t address[TALLY_ADDRESS];

	address_of(n, n % 2, address);
	for (unsigned i = 0; i < times; i++)
		assert_int_equal(tally_add(t, address), 0);
}

static void assert_busiest(const struct tally *t, unsigned n, unsigned times)
{
	uint8_t address[TALLY_ADDRESS];

	address_of(n, n % 2, address);
	assert_int_equal(t->busiest.times, times);
	assert_memory_equal(t->busiest.address, address, sizeof(address));
}

static void test_busiest(void **state)
{
	struct tally t;

	(void)state;
	tally_init(&t, 10);
	assert_int_equal(t.busiest.times, 0);
	add(&t, 1, 2);
	assert_busiest(&t, 1, 2);
	add(&t, 2, 2);
	assert_busiest(&t, 1, 2);
	add(&t, 2, 1);
	assert_busiest(&t, 2, 3);
	add(&t, 1, 2);
	assert_busiest(&t, 1, 4);
	assert_int_equal(t.used, 2);
	tally_finish(&t);
}

/* 100,000 of them, most once: none is lost or taken for another while it grows. */
static void test_many(void **state)
{
	struct tally t;

	(void)state;
	tally_init(&t, 1 << 17);
	for (unsigned n = 0; n < 100000; n++) {
		add(&t, n, 1);
		if (n % 1000 == 0)
			add(&t, 4321, 1);
	}
	assert_int_equal(t.used, 100000);
	assert_busiest(&t, 4321, 101);
	for (unsigned n = 0; n < 100000; n += 700)
		add(&t, n, 200);
	assert_int_equal(t.used, 100000);
	assert_busiest(&t, 0, 201);
	tally_finish(&t);
}

/* Memory is bounded: those who are there are counted on, others are not. */
static void test_full(void **state)
{
	struct tally t;

	(void)state;
	tally_init(&t, 1000);
	for (unsigned n = 0; n < 5000; n++)
		add(&t, n, 2);
	assert_int_equal(t.used, 1000);
	assert_true(t.slots <= 4096);
	add(&t, 4000, 100);
	assert_busiest(&t, 0, 2);
	add(&t, 999, 1);
	assert_busiest(&t, 999, 3);
	tally_finish(&t);

	tally_init(&t, 0);
	add(&t, 1, 1);
	assert_int_equal(t.busiest.times, 0);
	tally_finish(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_busiest),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
