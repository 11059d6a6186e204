/* The lane: batches, how many wait, what the far end still holds, a closed end. */
#include "wire/lane.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct lane_batch batch_of(unsigned count, int fd)
{
	struct lane_batch b = {.count = count};

	for (unsigned i = 0; i < count; i++) {
		b.fds[i] = fd;
		b.listeners[i] = (uint8_t)(200 + i);
	}
	return b;
}

static void test_batches(void **state)
{
	int near, far, fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	unsigned waiting = 0;

	(void)state;
	assert_int_equal(lane_open(&near, &far), 0);
	for (unsigned count = 1; count <= LANE_BATCH; count++) {
		struct lane_batch b = batch_of(count, fd);

		assert_int_equal(lane_send(near, &b), 0);
		waiting += count;
		assert_int_equal(lane_waiting(far), waiting);
	}
	for (unsigned count = 1; count <= LANE_BATCH; count++) {
		struct lane_batch b;

		assert_int_equal(lane_receive(far, &b), 1);
		assert_int_equal(b.count, count);
		assert_int_equal(b.listeners[count - 1], 200 + count - 1);
		fd_close_all(b.fds, b.count);
		waiting -= count;
		assert_int_equal(lane_waiting(far), waiting);
	}
	assert_int_equal(lane_receive(far, &(struct lane_batch){0}), -EAGAIN);
	close(near);
	assert_int_equal(lane_receive(far, &(struct lane_batch){0}), 0);
	close(far);
	close(fd);
}

/* One by one LANE_LIMIT connections fit into the socket's buffer; beyond it is -EAGAIN, not a wait. */
static void test_limit(void **state)
{
	int near, far, fd = open("/dev/null", O_RDONLY | O_CLOEXEC), sent = 0, r;
	struct lane_batch b = batch_of(1, fd);

	(void)state;
	assert_int_equal(lane_open(&near, &far), 0);
	while ((r = lane_send(near, &b)) == 0)
		sent++;
	assert_int_equal(r, -EAGAIN);
	assert_true(sent >= LANE_LIMIT);
	close(near);
	close(far);
	close(fd);
}

/* fd_close_all() closes runs with one call, and only what it was given. */
static void test_close_all(void **state)
{
	int fds[6], between;

	(void)state;
	for (int i = 0; i < 3; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	between = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 3; i < 6; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd_close_all(fds, 6);
	for (int i = 0; i < 6; i++)
		assert_int_equal(fcntl(fds[i], F_GETFD), -1);
	assert_true(fcntl(between, F_GETFD) >= 0);
	close(between);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_batches),
	    cmocka_unit_test(test_limit),
	    cmocka_unit_test(test_close_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
