/* What a Node worker says of its connections, and how far it is believed. */
#include "share/counting.h"

#include "share/handoff.h"
#include "share/receiver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct receiver new_receiver(void)
{
	return (struct receiver){.lane = -1, .lane_far = -1, .takes = true, .counting = {.asked = true}};
}

static void accept_some(struct receiver *r, int count)
{
	for (int i = 0; i < count; i++)
		counting_accepted(r);
	counting_look(r);
}

static void expect(const struct receiver *r, unsigned active, uint64_t finished)
{
	bool known;

	assert_int_equal(handoff_active(r, &known), active);
	assert_true(known);
	assert_int_equal(counting_sum(r).finished, finished);
}

static void test_it_counts_once_it_has_said_so(void **state)
{
	struct receiver r = new_receiver();
	bool known;

	(void)state;
	accept_some(&r, 2);
	assert_int_equal(handoff_active(&r, &known), 0);
	assert_false(known);
	counting_done(&r, 0, 0);
	expect(&r, 0, 0);
	accept_some(&r, 3);
	r.unanswered = 2;
	expect(&r, 5, 0);
	counting_done(&r, 1, 2);
	expect(&r, 4, 1);
	r.unanswered = 0;
	counting_done(&r, 2, 0);
	expect(&r, 0, 3);
}

static void test_unasked(void **state)
{
	struct receiver r = new_receiver();

	(void)state;
	r.counting.asked = false;
	counting_done(&r, 1, 1);
	assert_false(r.counting.known);
}

/* Neither more in hand nor more finished than it was handed. */
static void test_what_cannot_be(void **state)
{
	struct receiver r = new_receiver();

	(void)state;
	counting_done(&r, 7, 7);
	expect(&r, 0, 0);
	accept_some(&r, 4);
	counting_done(&r, INT32_MAX, INT32_MAX);
	expect(&r, 4, 0);
	counting_done(&r, INT32_MAX, 1);
	expect(&r, 1, 3);
	counting_done(&r, 0, 0); /* accepted, and lost: over, but not served */
	expect(&r, 0, 3);
}

static void wait_a_little(void)
{
	for (uint64_t begin = uv_hrtime(); uv_hrtime() - begin < 2000000;)
		;
}

/* Only while it has something in hand. */
static void test_time(void **state)
{
	struct receiver r = new_receiver();
	uint64_t before;

	(void)state;
	counting_done(&r, 0, 0);
	wait_a_little();
	assert_int_equal(counting_sum(&r).service_us, 0);
	r.unanswered = 1;
	counting_look(&r);
	wait_a_little();
	before = counting_sum(&r).service_us;
	assert_true(before >= 2000);
	r.unanswered = 0;
	accept_some(&r, 1);
	wait_a_little();
	counting_done(&r, 1, 0);
	before = counting_sum(&r).service_us;
	assert_true(before >= 4000);
	wait_a_little();
	assert_int_equal(counting_sum(&r).service_us, before);
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
