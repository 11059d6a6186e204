/* What a worker has in hand: from its scoreboard, its lane, and what it has not answered. */
#include "primary/handoff.h"

#include "base/fd.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

struct known {
	struct umbel_worker w;
	struct scoreboard *board; /* the worker's own view of it */
};

static struct umbel_worker new_worker(void)
{
	return (struct umbel_worker){.lane = -1, .lane_far = -1, .takes = true};
}

static void open_known(struct known *k)
{
	int fd;

	k->w = new_worker();
	assert_int_equal(lane_open(&k->w.lane, &k->w.lane_far), 0);
	assert_int_equal(scoreboard_create(&fd, &k->w.board), 0);
	assert_int_equal(scoreboard_map(fd, &k->board), 0);
	close(fd);
	atomic_store(&k->board->heartbeat, 1);
}

static void close_known(struct known *k)
{
	scoreboard_unmap(k->board);
	scoreboard_unmap(k->w.board);
	fd_close(&k->w.lane);
	fd_close(&k->w.lane_far);
}

static void expect(const struct umbel_worker *w, unsigned active, bool known)
{
	bool is_known = !known;

	assert_int_equal(handoff_active(w, &is_known), active);
	assert_int_equal(is_known, known);
}

static void test_without_a_scoreboard(void **state)
{
	struct umbel_worker w = new_worker();
	struct lane_batch batch = {.count = 2};

	(void)state;
	expect(&w, 0, false);
	w.unanswered = 3;
	expect(&w, 3, false);
	batch.fds[0] = batch.fds[1] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(lane_open(&w.lane, &w.lane_far), 0);
	assert_int_equal(lane_send(w.lane, &batch), 0);
	w.lane_out.count = 4;
	expect(&w, 3 + 2 + 4, false);
	close(batch.fds[0]);
	fd_close(&w.lane);
	fd_close(&w.lane_far);
}

static void test_with_a_scoreboard(void **state)
{
	struct known k;

	(void)state;
	open_known(&k);
	expect(&k.w, 0, true);
	k.w.lane_sent = 5;
	expect(&k.w, 5, true);
	k.w.lane_out.count = 1;
	atomic_store(&k.board->received, 2);
	atomic_store(&k.board->taken, 2);
	atomic_store(&k.board->finished, 1);
	expect(&k.w, 1 + 3 + 1, true);
	k.w.unanswered = 2; /* of an address that has no number in the lane */
	expect(&k.w, 2 + 1 + 3 + 1, true);
	atomic_store(&k.board->heartbeat, 0); /* nobody writes there */
	expect(&k.w, 2 + 1, false);
	close_known(&k);
}

static void test_lies(void **state)
{
	struct known k;

	(void)state;
	open_known(&k);
	atomic_store(&k.board->received, 7); /* more than was sent */
	expect(&k.w, 0, true);
	k.w.lane_sent = 1000; /* more than can wait */
	atomic_store(&k.board->received, 0);
	expect(&k.w, LANE_LIMIT, true);
	atomic_store(&k.board->received, UINT64_MAX);
	expect(&k.w, LANE_LIMIT, true);
	atomic_store(&k.board->taken, INT64_MAX);
	expect(&k.w, LANE_LIMIT + SCOREBOARD_ACTIVE_MOST, true);
	atomic_store(&k.board->taken, UINT64_MAX);
	expect(&k.w, LANE_LIMIT, true);
	fd_close(&k.w.lane);
	expect(&k.w, 0, true);
	close_known(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_without_a_scoreboard),
	    cmocka_unit_test(test_with_a_scoreboard),
	    cmocka_unit_test(test_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
