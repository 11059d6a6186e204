/* What has happened: the last few hundred records, and which of them are a slot's. */
#include "admin/history.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MOST = 500 };

static void add(struct history *h, int slot, int number)
{
	json_t *record = json_pack("{si si}", "slot", slot, "number", number);

	history_add(h, record);
	json_decref(record);
}

static int number_at(const json_t *list, size_t i)
{
	return (int)json_integer_value(json_object_get(json_array_get(list, i), "number"));
}

static void test_nothing(void **state)
{
	struct history h = {NULL};
	json_t *list = history_list(&h, 0);

	(void)state;
	assert_true(json_is_array(list));
	assert_int_equal(json_array_size(list), 0);
	json_decref(list);
	history_finish(&h);
}

/* The oldest go first, and the list that somebody holds stays as it was. */
static void test_bound(void **state)
{
	struct history h = {NULL};
	json_t *list, *before;

	(void)state;
	for (int i = 1; i <= MOST; i++)
		add(&h, 1, i);
	before = history_list(&h, 0);
	assert_int_equal(json_array_size(before), MOST);
	assert_int_equal(number_at(before, 0), 1);
	for (int i = MOST + 1; i <= 2 * MOST + 7; i++) {
		add(&h, 1, i);
		list = history_list(&h, 0);
		assert_int_equal(json_array_size(list), MOST);
		assert_int_equal(number_at(list, 0), i - MOST + 1);
		assert_int_equal(number_at(list, MOST - 1), i);
		json_decref(list);
	}
	assert_int_equal(json_array_size(before), MOST);
	assert_int_equal(number_at(before, 0), 1);
	json_decref(before);
	history_finish(&h);
}

/* A slot's own, and what is the whole app's; in their order. */
static void test_filter(void **state)
{
	static const int slots[] = {0, 1, 2, 1, 0, 3, 2};
	struct history h = {NULL};
	json_t *list, *nameless = json_pack("{si}", "number", 8);

	(void)state;
	for (int i = 0; i < 7; i++)
		add(&h, slots[i], i + 1);
	history_add(&h, nameless); /* without a slot it is the app's */
	json_decref(nameless);

	list = history_list(&h, 0);
	assert_int_equal(json_array_size(list), 8);
	json_decref(list);
	list = history_list(&h, 1);
	assert_int_equal(json_array_size(list), 5);
	assert_int_equal(number_at(list, 0), 1);
	assert_int_equal(number_at(list, 1), 2);
	assert_int_equal(number_at(list, 2), 4);
	assert_int_equal(number_at(list, 3), 5);
	assert_int_equal(number_at(list, 4), 8);
	json_decref(list);
	list = history_list(&h, 9);
	assert_int_equal(json_array_size(list), 3);
	json_decref(list);
	history_finish(&h);
}

static void test_copies(void **state)
{
	struct history h = {NULL};
	json_t *record = json_pack("{si s{si}}", "slot", 1, "exit", "code", 1), *list;

	(void)state;
	history_add(&h, record);
	json_object_set_new(json_object_get(record, "exit"), "code", json_integer(2));
	json_object_set_new(record, "slot", json_integer(2));
	json_decref(record);
	list = history_list(&h, 1);
	assert_int_equal(json_array_size(list), 1);
	record = json_object_get(json_array_get(list, 0), "exit");
	assert_int_equal(json_integer_value(json_object_get(record, "code")), 1);
	history_finish(&h);
	/* It outlives the history. */
	assert_int_equal(json_integer_value(json_object_get(record, "code")), 1);
	json_decref(list);
}

/* Finished, it may be used anew. */
static void test_finish(void **state)
{
	struct history h = {NULL};
	json_t *list;

	(void)state;
	history_finish(&h);
	add(&h, 0, 1);
	history_finish(&h);
	add(&h, 0, 2);
	list = history_list(&h, 0);
	assert_int_equal(json_array_size(list), 1);
	assert_int_equal(number_at(list, 0), 2);
	json_decref(list);
	history_finish(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing), cmocka_unit_test(test_bound), cmocka_unit_test(test_filter),
	    cmocka_unit_test(test_copies),  cmocka_unit_test(test_finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
