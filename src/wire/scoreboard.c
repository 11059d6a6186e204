/* scoreboard: the page itself, both sides of it. */
#include "wire/scoreboard.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum {
	SIZE = 4096, /* a page, or the beginning of one */
	LOOKS = 4,   /* for two that say the same */
};

_Static_assert(sizeof(struct scoreboard) <= SIZE, "a scoreboard is a page");

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t); /* no system call: vdso(7) */
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int open_memfd(void)
{
	int fd = memfd_create("umbel-scoreboard", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL) /* a kernel before 6.3 */
		fd = memfd_create("umbel-scoreboard", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

int scoreboard_create(int *ret_fd, const struct scoreboard **ret)
{
	void *map;
	int err, fd = open_memfd();

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, SIZE) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0 &&
	    (map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0)) != MAP_FAILED) {
		*ret_fd = fd;
		*ret = map;
		return 0;
	}
	err = -errno;
	fd_close(&fd);
	return err;
}

void scoreboard_unmap(const struct scoreboard *board)
{
	if (board)
		munmap((void *)board, SIZE);
}

/* ---- the primary reads ---- */

struct sums {
	uint64_t taken, finished, began_us, ended_us;
};

/* In this order: what ends or begins meanwhile is rather counted too much than not at all. */
static struct sums look(const struct scoreboard *board)
{
	struct sums s;

	s.finished = atomic_load(&board->finished);
	s.ended_us = atomic_load(&board->ended_us);
	s.taken = atomic_load(&board->taken);
	s.began_us = atomic_load(&board->began_us);
	return s;
}

static bool are_equal(const struct sums *a, const struct sums *b)
{
	return a->taken == b->taken && a->finished == b->finished && a->began_us == b->began_us &&
	       a->ended_us == b->ended_us;
}

/* A count and its sum of times belong together: one without the other is wrong by hours. */
static struct sums look_twice(const struct scoreboard *board)
{
	struct sums before, now = look(board);

	for (int i = 0; i < LOOKS; i++) {
		before = now;
		now = look(board);
		if (are_equal(&before, &now))
			break;
	}
	return now;
}

static unsigned active_of(const struct sums *s)
{
	uint64_t active = s->taken - s->finished;

	if (active > INT64_MAX)
		return 0;
	return active < SCOREBOARD_ACTIVE_MOST ? (unsigned)active : SCOREBOARD_ACTIVE_MOST;
}

/* None was served for longer than the clock has run. */
static uint64_t service_of(const struct sums *s, unsigned active, uint64_t now)
{
	uint64_t service = active * now + s->ended_us - s->began_us, most;

	if (service > INT64_MAX)
		return 0;
	return __builtin_mul_overflow(s->taken, now, &most) || service <= most ? service : 0;
}

void scoreboard_read(const struct scoreboard *board, struct scoreboard_view *ret)
{
	uint64_t received = atomic_load(&board->received); /* this first: what is received is taken */
	struct sums s = look_twice(board);
	unsigned active = active_of(&s);

	*ret = (struct scoreboard_view){
	    .received = received,
	    .taken = s.taken,
	    .finished = s.finished,
	    .lost = atomic_load(&board->lost),
	    .heartbeat = atomic_load(&board->heartbeat),
	    .active = active,
	    .service_us = service_of(&s, active, now_us()),
	};
}

/* ---- the worker writes ---- */

static bool is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	return seals >= 0 && seals & F_SEAL_SHRINK && fstat(fd, &st) == 0 && st.st_size >= SIZE;
}

int scoreboard_map(int fd, struct scoreboard **ret)
{
	void *map;

	if (!is_sealed(fd))
		return -EPROTO;
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	*ret = map;
	return 0;
}

void scoreboard_took(struct scoreboard *board)
{
	if (!board)
		return;
	atomic_fetch_add(&board->began_us, now_us());
	atomic_fetch_add(&board->taken, 1);
}

void scoreboard_finished(struct scoreboard *board)
{
	if (!board)
		return;
	atomic_fetch_add(&board->ended_us, now_us());
	atomic_fetch_add(&board->finished, 1);
}
