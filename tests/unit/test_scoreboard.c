/* The scoreboard: what is counted, what is made of nonsense, and that nobody can take the page away. */
#include "wire/scoreboard.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
	int fd;
	const struct scoreboard *primary;
	struct scoreboard *worker;
};

static struct pair open_pair(void)
{
	struct pair p;

	assert_int_equal(scoreboard_create(&p.fd, &p.primary), 0);
	assert_int_equal(scoreboard_map(p.fd, &p.worker), 0);
	return p;
}

static void close_pair(struct pair *p)
{
	scoreboard_unmap(p->primary);
	scoreboard_unmap(p->worker);
	close(p->fd);
}

static struct scoreboard_view view_of(const struct pair *p)
{
	struct scoreboard_view v;

	memset(&v, 0x5a, sizeof(v));
	scoreboard_read(p->primary, &v);
	return v;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void test_counts(void **state)
{
	struct pair p = open_pair();
	struct scoreboard_view v = view_of(&p);
	uint64_t begun = now_us(), running;

	(void)state;
	assert_int_equal(v.taken + v.finished + v.received + v.lost + v.heartbeat + v.active + v.service_us, 0);
	scoreboard_took(p.worker);
	scoreboard_took(p.worker);
	while (now_us() < begun + 2000)
		;
	v = view_of(&p);
	assert_int_equal(v.taken, 2);
	assert_int_equal(v.active, 2);
	running = v.service_us; /* also while nothing is finished */
	assert_in_range(running, 2000, 2 * (now_us() - begun));
	scoreboard_finished(p.worker);
	scoreboard_finished(p.worker);
	v = view_of(&p);
	assert_int_equal(v.finished, 2);
	assert_int_equal(v.active, 0);
	assert_in_range(v.service_us, running, 2 * (now_us() - begun));
	running = v.service_us;
	begun = now_us();
	while (now_us() < begun + 1000)
		;
	assert_int_equal(view_of(&p).service_us, running);
	atomic_store(&p.worker->received, 5);
	atomic_store(&p.worker->lost, 6);
	atomic_store(&p.worker->heartbeat, 7);
	v = view_of(&p);
	assert_int_equal(v.received, 5);
	assert_int_equal(v.lost, 6);
	assert_int_equal(v.heartbeat, 7);
	close_pair(&p);
}

/* The sums wrap around, and the differences stay right. */
static void test_wraps(void **state)
{
	struct pair p = open_pair();
	struct scoreboard_view v;

	(void)state;
	atomic_store(&p.worker->taken, UINT64_MAX);
	atomic_store(&p.worker->finished, UINT64_MAX);
	atomic_store(&p.worker->began_us, UINT64_MAX - 5);
	atomic_store(&p.worker->ended_us, UINT64_MAX);
	scoreboard_took(p.worker);
	v = view_of(&p);
	assert_int_equal(v.taken, 0);
	assert_int_equal(v.active, 1);
	atomic_store(&p.worker->taken, 1); /* after a wrap only what it could have served counts */
	atomic_store(&p.worker->finished, 0);
	assert_in_range(view_of(&p).service_us, 5, 1000000);
	close_pair(&p);
}

static void test_nobody(void **state)
{
	(void)state;
	scoreboard_took(NULL);
	scoreboard_finished(NULL);
	scoreboard_unmap(NULL);
}

/* ---- a worker that means harm ---- */

static const struct {
	uint64_t taken, finished, began_us, ended_us;
	unsigned active;
	uint64_t service_us;
} nonsense[] = {
    {0, 1, 0, 0, 0, 0},                                      /* more finished than taken */
    {5, UINT64_MAX, 0, 0, 6, 0},                             /* a wrap; longer than it could have served */
    {UINT64_MAX, 0, 0, 0, 0, 0},
    {1u << 30, 0, 0, 0, SCOREBOARD_ACTIVE_MOST, UINT64_MAX}, /* as many as there can be; any time */
    {INT64_MAX, 0, 0, 0, SCOREBOARD_ACTIVE_MOST, UINT64_MAX},
    {3, 3, 1, 0, 0, 0},                                      /* ended before it began */
    {3, 3, 0, UINT64_MAX, 0, 0},
    {3, 3, 0, INT64_MAX, 0, 0},                              /* for thousands of years */
    {0, 0, 0, 1, 0, 0},                                      /* without any connection */
    {1, 0, UINT64_MAX / 2, 0, 1, 0},                         /* it begins tomorrow */
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0, 0},
};

static void test_nonsense(void **state)
{
	struct pair p = open_pair();

	(void)state;
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		struct scoreboard_view v;

		atomic_store(&p.worker->taken, nonsense[i].taken);
		atomic_store(&p.worker->finished, nonsense[i].finished);
		atomic_store(&p.worker->began_us, nonsense[i].began_us);
		atomic_store(&p.worker->ended_us, nonsense[i].ended_us);
		v = view_of(&p);
		assert_int_equal(v.active, nonsense[i].active);
		if (nonsense[i].service_us != UINT64_MAX)
			assert_int_equal(v.service_us, nonsense[i].service_us);
		assert_true(v.service_us <= INT64_MAX);
	}
	close_pair(&p);
}

static atomic_bool over;

static void *scribble(void *data)
{
	_Atomic uint64_t *words = data;
	uint64_t x = 88172645463325252u;

	while (!atomic_load(&over)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		atomic_store(&words[x % (sizeof(struct scoreboard) / sizeof(*words))], x);
	}
	return NULL;
}

/* Whenever it is looked, what is there is within the limits, and the look ends. */
static void test_scribbler(void **state)
{
	struct pair p = open_pair();
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, scribble, p.worker), 0);
	for (int i = 0; i < 20000; i++) {
		struct scoreboard_view v = view_of(&p);

		assert_true(v.active <= SCOREBOARD_ACTIVE_MOST);
		assert_true(v.service_us <= INT64_MAX);
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	close_pair(&p);
}

/* An ftruncate(2) of the worker's would end the primary by SIGBUS. A hole reads as zeros. */
static void test_sealed(void **state)
{
	struct pair p = open_pair();

	(void)state;
	assert_int_equal(fcntl(p.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(ftruncate(p.fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(p.fd, 1 << 20), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fcntl(p.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	assert_int_equal(errno, EPERM);
	scoreboard_took(p.worker);
	assert_int_equal(fallocate(p.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
	assert_int_equal(view_of(&p).taken, 0);
	close_pair(&p);
}

/* The worker does not take anything for one either: a resizable file would end it. */
static void test_no_scoreboard(void **state)
{
	struct scoreboard *board = NULL;
	int fds[2], fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(scoreboard_map(fd, &board), -EPROTO); /* not sealed */
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(scoreboard_map(fd, &board), -EPROTO); /* too short */
	close(fd);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(scoreboard_map(fds[0], &board), -EPROTO);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(scoreboard_map(-1, &board), -EPROTO);
	assert_null(board);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_counts),    cmocka_unit_test(test_wraps),  cmocka_unit_test(test_nobody),
	    cmocka_unit_test(test_nonsense),  cmocka_unit_test(test_scribbler),
	    cmocka_unit_test(test_sealed),    cmocka_unit_test(test_no_scoreboard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
