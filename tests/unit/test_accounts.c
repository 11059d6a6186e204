/* Sockets that came with messages: counted while they are open, however they are closed. */
#include "wire/accounts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int open_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static void test_count(void **state)
{
	struct accounts a;
	int one = open_socket(), two = open_socket(), other = open_socket();

	accounts_init(&a);
	assert_int_equal(accounts_count(&a, "4:127.0.0.1:80"), 0);
	accounts_add(&a, "4:127.0.0.1:80", one);
	accounts_add(&a, "4:127.0.0.1:80", two);
	accounts_add(&a, "4:127.0.0.1:81", other);
	assert_int_equal(accounts_count(&a, "4:127.0.0.1:80"), 2);
	assert_int_equal(accounts_count(&a, "4:127.0.0.1:81"), 1);
	close(one);
	assert_int_equal(accounts_count(&a, "4:127.0.0.1:80"), 1);
	close(two);
	assert_int_equal(accounts_count(&a, "4:127.0.0.1:80"), 0);
	close(other);
	accounts_finish(&a);
}

/* The number is another's by now: the socket is closed. */
static void test_number_reused(void **state)
{
	struct accounts a;
	int one = open_socket(), again;

	accounts_init(&a);
	accounts_add(&a, "k", one);
	close(one);
	again = open_socket();
	assert_int_equal(again, one);
	assert_int_equal(accounts_count(&a, "k"), 0);
	close(again);
	accounts_finish(&a);
}

static void test_await(void **state)
{
	struct accounts a;
	int one = open_socket();
	char *key;

	accounts_init(&a);
	accounts_add(&a, "k", one);
	assert_false(accounts_is_awaited(&a));
	assert_int_equal(accounts_await(&a, "k"), 0);
	assert_true(accounts_is_awaited(&a));
	assert_null(accounts_pop_closed(&a));
	close(one);
	key = accounts_pop_closed(&a);
	assert_string_equal(key, "k");
	free(key);
	assert_null(accounts_pop_closed(&a));
	assert_false(accounts_is_awaited(&a));
	accounts_finish(&a);
}

/* A server that never sent anything has nothing open. */
static void test_await_unknown(void **state)
{
	struct accounts a;
	char *key;

	accounts_init(&a);
	assert_int_equal(accounts_await(&a, "k"), 0);
	key = accounts_pop_closed(&a);
	assert_string_equal(key, "k");
	free(key);
	accounts_finish(&a);
}

/* Whatever comes and goes, only what is open takes room. */
static void test_forgets(void **state)
{
	struct accounts a;
	int stays = open_socket();
	char key[32];

	accounts_init(&a);
	accounts_add(&a, "stays", stays);
	for (int i = 0; i < 10000; i++) {
		int fd = open_socket();

		snprintf(key, sizeof(key), "k%d", i);
		accounts_add(&a, i % 2 ? key : "one server", fd);
		close(fd);
	}
	assert_true(a.count <= 200);
	assert_int_equal(accounts_count(&a, "stays"), 1);
	assert_int_equal(accounts_count(&a, "one server"), 0);
	close(stays);
	accounts_finish(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_count),         cmocka_unit_test(test_number_reused),
		cmocka_unit_test(test_await),         cmocka_unit_test(test_await_unknown),
		cmocka_unit_test(test_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
