/* What a worker has in hand: from its scoreboard, its lane, and what it has not answered. */
#include "share/handoff.h"

#include "base/fd.h"
#include "share/receiver.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

struct known {
	struct receiver r;
	struct scoreboard *board; /* the worker's own view of it */
};

static struct receiver new_receiver(void)
{
	return (struct receiver){.lane = -1, .lane_far = -1, .takes = true};
}

static void open_known(struct known *k)
{
	int fd;

	k->r = new_receiver();
	assert_int_equal(lane_open(&k->r.lane, &k->r.lane_far), 0);
	assert_int_equal(scoreboard_create(&fd, &k->r.board), 0);
	assert_int_equal(scoreboard_map(fd, &k->board), 0);
	close(fd);
	atomic_store(&k->board->heartbeat, 1);
}

static void close_known(struct known *k)
{
	scoreboard_unmap(k->board);
	scoreboard_unmap(k->r.board);
	fd_close(&k->r.lane);
	fd_close(&k->r.lane_far);
}

static void expect(const struct receiver *r, unsigned active, bool known)
{
	bool is_known = !known;

	assert_int_equal(handoff_active(r, &is_known), active);
	assert_int_equal(is_known, known);
}

static void test_without_a_scoreboard(void **state)
{
	struct receiver r = new_receiver();
	struct lane_batch batch = {.count = 2};

	(void)state;
	expect(&r, 0, false);
	r.unanswered = 3;
	expect(&r, 3, false);
	batch.fds[0] = batch.fds[1] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(lane_open(&r.lane, &r.lane_far), 0);
	assert_int_equal(lane_send(r.lane, &batch), 0);
	r.lane_out.count = 4;
	expect(&r, 3 + 2 + 4, false);
	close(batch.fds[0]);
	fd_close(&r.lane);
	fd_close(&r.lane_far);
}

static void test_with_a_scoreboard(void **state)
{
	struct known k;

	(void)state;
	open_known(&k);
	expect(&k.r, 0, true);
	k.r.lane_sent = 5;
	expect(&k.r, 5, true);
	k.r.lane_out.count = 1;
	atomic_store(&k.board->received, 2);
	atomic_store(&k.board->taken, 2);
	atomic_store(&k.board->finished, 1);
	expect(&k.r, 1 + 3 + 1, true);
	k.r.unanswered = 2; /* of an address that has no number in the lane */
	expect(&k.r, 2 + 1 + 3 + 1, true);
	atomic_store(&k.board->heartbeat, 0); /* nobody writes there */
	expect(&k.r, 2 + 1, false);
	close_known(&k);
}

static void test_lies(void **state)
{
	struct known k;

	(void)state;
	open_known(&k);
	atomic_store(&k.board->received, 7); /* more than was sent */
	expect(&k.r, 0, true);
	k.r.lane_sent = 1000; /* more than can wait */
	atomic_store(&k.board->received, 0);
	expect(&k.r, LANE_LIMIT, true);
	atomic_store(&k.board->received, UINT64_MAX);
	expect(&k.r, LANE_LIMIT, true);
	atomic_store(&k.board->taken, INT64_MAX);
	expect(&k.r, LANE_LIMIT + SCOREBOARD_ACTIVE_MOST, true);
	atomic_store(&k.board->taken, UINT64_MAX);
	expect(&k.r, LANE_LIMIT, true);
	fd_close(&k.r.lane);
	expect(&k.r, 0, true);
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
