/* What a Node worker says of its connections, and how far it is believed. */
#include "primary/counting.h"

#include "primary/handoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct umbel_worker new_worker(void)
{
	return (struct umbel_worker){.lane = -1, .lane_far = -1, .takes = true, .counting = {.asked = true}};
}

static void accept_some(struct umbel_worker *w, int count)
{
	for (int i = 0; i < count; i++)
		counting_accepted(w);
	counting_look(w);
}

static void expect(const struct umbel_worker *w, unsigned active, uint64_t finished)
{
	bool known;

	assert_int_equal(handoff_active(w, &known), active);
	assert_true(known);
	assert_int_equal(counting_sum(w).finished, finished);
}

static void test_it_counts_once_it_has_said_so(void **state)
{
	struct umbel_worker w = new_worker();
	bool known;

	(void)state;
	accept_some(&w, 2);
	assert_int_equal(handoff_active(&w, &known), 0);
	assert_false(known);
	counting_done(&w, 0, 0);
	expect(&w, 0, 0);
	accept_some(&w, 3);
	w.unanswered = 2;
	expect(&w, 5, 0);
	counting_done(&w, 1, 2);
	expect(&w, 4, 1);
	w.unanswered = 0;
	counting_done(&w, 2, 0);
	expect(&w, 0, 3);
}

static void test_unasked(void **state)
{
	struct umbel_worker w = new_worker();

	(void)state;
	w.counting.asked = false;
	counting_done(&w, 1, 1);
	assert_false(w.counting.known);
}

/* Neither more in hand nor more finished than it was handed. */
static void test_what_cannot_be(void **state)
{
	struct umbel_worker w = new_worker();

	(void)state;
	counting_done(&w, 7, 7);
	expect(&w, 0, 0);
	accept_some(&w, 4);
	counting_done(&w, INT32_MAX, INT32_MAX);
	expect(&w, 4, 0);
	counting_done(&w, INT32_MAX, 1);
	expect(&w, 1, 3);
	counting_done(&w, 0, 0); /* accepted, and lost: over, but not served */
	expect(&w, 0, 3);
}

static void wait_a_little(void)
{
	for (uint64_t begin = uv_hrtime(); uv_hrtime() - begin < 2000000;)
		;
}

/* Only while it has something in hand. */
static void test_time(void **state)
{
	struct umbel_worker w = new_worker();
	uint64_t before;

	(void)state;
	counting_done(&w, 0, 0);
	wait_a_little();
	assert_int_equal(counting_sum(&w).service_us, 0);
	w.unanswered = 1;
	counting_look(&w);
	wait_a_little();
	before = counting_sum(&w).service_us;
	assert_true(before >= 2000);
	w.unanswered = 0;
	accept_some(&w, 1);
	wait_a_little();
	counting_done(&w, 1, 0);
	before = counting_sum(&w).service_us;
	assert_true(before >= 4000);
	wait_a_little();
	assert_int_equal(counting_sum(&w).service_us, before);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_it_counts_once_it_has_said_so),
	    cmocka_unit_test(test_unasked),
	    cmocka_unit_test(test_what_cannot_be),
	    cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
