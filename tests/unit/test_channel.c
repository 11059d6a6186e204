/* The channel over a real socket pair: lines cut anywhere, descriptors, bounds, a peer that is gone. */
#include "wire/channel.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_MESSAGE = 4096, MAX_QUEUE = 1 << 20 };

struct pair {
	struct channel here;
	int there;
};

static int setup(void **state)
{
	struct pair *p = malloc(sizeof(*p));
	int ends[2];

	if (!p || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	channel_open(&p->here, ends[0], MAX_MESSAGE, MAX_QUEUE);
	p->there = ends[1];
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	channel_close(&p->here);
	fd_close(&p->there);
	free(p);
	return 0;
}

static void put(struct pair *p, const char *text)
{
	assert_int_equal(write(p->there, text, strlen(text)), strlen(text));
}

/* One sendmsg() with a descriptor. */
static void put_with_fd(struct pair *p, const char *text, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec iov = {(void *)text, strlen(text)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};

	control.align = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
	assert_int_equal(sendmsg(p->there, &m, 0), strlen(text));
}

static void expect_line(struct pair *p, const char *text)
{
	char *line;
	size_t len;

	assert_int_equal(channel_next_line(&p->here, &line, &len), 1);
	assert_string_equal(line, text);
	assert_int_equal(len, strlen(text));
}

static void expect_none(struct pair *p)
{
	char *line;
	size_t len;

	assert_int_equal(channel_next_line(&p->here, &line, &len), 0);
}

static void test_lines_cut_anywhere(void **state)
{
	static const char text[] = "{\"a\":1}\n[2]\n\"three\"\n";
	struct pair *p = *state;

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		char one[2] = {text[i], '\0'};

		put(p, one);
		assert_int_equal(channel_read(&p->here), 1);
		if (i == 7)
			expect_line(p, "{\"a\":1}");
		else if (i == 11)
			expect_line(p, "[2]");
		else if (i == sizeof(text) - 2)
			expect_line(p, "\"three\"");
		else
			expect_none(p);
	}
	assert_int_equal(channel_read(&p->here), -EAGAIN);
}

static void test_many_in_one_read(void **state)
{
	struct pair *p = *state;

	put(p, "1\n2\n3\n4");
	assert_true(channel_read(&p->here) > 0);
	expect_line(p, "1");
	expect_line(p, "2");
	expect_line(p, "3");
	expect_none(p);
	put(p, "5\n");
	assert_true(channel_read(&p->here) > 0);
	expect_line(p, "45");
	expect_none(p);
}

static void test_end_of_file(void **state)
{
	struct pair *p = *state;

	put(p, "last\nhalf");
	fd_close(&p->there);
	assert_true(channel_read(&p->here) > 0);
	expect_line(p, "last");
	expect_none(p);
	assert_int_equal(channel_read(&p->here), 0);
}

static void test_longest_line(void **state)
{
	struct pair *p = *state;
	char text[MAX_MESSAGE + 2], *line;
	size_t len;

	memset(text, 'x', sizeof(text));
	text[MAX_MESSAGE] = '\n';
	text[MAX_MESSAGE + 1] = '\0';
	put(p, text);
	assert_true(channel_read(&p->here) > 0);
	assert_int_equal(channel_next_line(&p->here, &line, &len), 1);
	assert_int_equal(len, MAX_MESSAGE);
	text[MAX_MESSAGE] = 'x';
	put(p, text); /* no end in sight */
	assert_true(channel_read(&p->here) > 0);
	assert_int_equal(channel_next_line(&p->here, &line, &len), -EMSGSIZE);
}

/* A descriptor may come with the tail of the line before its own. */
static void test_fd_waits_for_its_line(void **state)
{
	struct pair *p = *state;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), got;

	put_with_fd(p, "plain\n{\"with\"", fd);
	assert_true(channel_read(&p->here) > 0);
	expect_line(p, "plain");
	expect_none(p);
	channel_drop_strays(&p->here); /* half a line is there: it may be that one's */
	put(p, ":1}\n");
	assert_true(channel_read(&p->here) > 0);
	expect_line(p, "{\"with\":1}");
	got = channel_take_fd(&p->here);
	assert_true(got >= 0);
	assert_int_equal(fcntl(got, F_GETFD), FD_CLOEXEC);
	assert_int_equal(channel_take_fd(&p->here), -1);
	close(got);
	close(fd);
}

static void test_strays_are_closed(void **state)
{
	struct pair *p = *state;
	int ends[2];
	char byte;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	put_with_fd(p, "plain\n", ends[1]);
	close(ends[1]);
	assert_true(channel_read(&p->here) > 0);
	expect_line(p, "plain");
	expect_none(p);
	channel_drop_strays(&p->here);
	assert_int_equal(read(ends[0], &byte, 1), 0); /* the last copy of the writing end is gone */
	close(ends[0]);
}

static void test_too_many_fds(void **state)
{
	struct pair *p = *state;
	int r = 1;

	for (int i = 0; i <= CHANNEL_MAX_FDS && r > 0; i++) {
		put_with_fd(p, "x", p->there);
		r = channel_read(&p->here);
	}
	assert_int_equal(r, -EMFILE);
}

static void test_sent_fds_go_one_by_one(void **state)
{
	struct pair *p = *state, other;
	int dup_fd = fcntl(p->there, F_DUPFD_CLOEXEC, 3);

	assert_int_equal(channel_send(&p->here, "1", 1, open("/dev/null", O_RDONLY | O_CLOEXEC), 0), 0);
	assert_int_equal(channel_send(&p->here, "2", 1, -1, 0), 0);
	assert_int_equal(channel_send(&p->here, "3", 1, open("/dev/null", O_RDONLY | O_CLOEXEC), 0), 0);
	assert_int_equal(channel_flush(&p->here), 0);
	channel_open(&other.here, dup_fd, MAX_MESSAGE, MAX_QUEUE);
	for (int reads = 0; other.here.in_fd_count < 2; reads++) {
		assert_true(reads < 3);
		assert_true(channel_read(&other.here) > 0);
	}
	channel_close(&other.here);
}

static void test_lent_fd_stays_open(void **state)
{
	struct pair *p = *state;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(channel_send(&p->here, "1", 1, fd, CHANNEL_LEND_FD), 0);
	assert_int_equal(channel_flush(&p->here), 0);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	assert_int_equal(channel_send(&p->here, "2", 1, fd, CHANNEL_LEND_FD), 0);
	channel_close(&p->here); /* unsent */
	assert_true(fcntl(fd, F_GETFD) >= 0);
	close(fd);
}

static void test_line_breaks_become_spaces(void **state)
{
	struct pair *p = *state;
	char got[32] = {0};

	assert_int_equal(channel_send(&p->here, "{\n\"a\":\n1}", 9, -1, 0), 0);
	assert_int_equal(channel_flush(&p->here), 0);
	assert_int_equal(read(p->there, got, sizeof(got)), 10);
	assert_string_equal(got, "{ \"a\": 1}\n");
}

static void test_bounds_of_the_queue(void **state)
{
	struct pair *p = *state;
	char text[MAX_MESSAGE + 1];
	int sent = 0, r;

	memset(text, 'x', sizeof(text));
	assert_int_equal(channel_send(&p->here, text, sizeof(text), -1, 0), -EMSGSIZE);
	while ((r = channel_send(&p->here, text, MAX_MESSAGE, -1, 0)) == 0)
		sent++;
	assert_int_equal(r, -EAGAIN);
	assert_in_range(sent, MAX_QUEUE / (MAX_MESSAGE + 1), MAX_QUEUE / MAX_MESSAGE);
	assert_int_equal(channel_send(&p->here, "urgent", 6, -1, CHANNEL_URGENT), 0);
	assert_int_equal(channel_flush(&p->here), 1);
	/* All of it arrives, in order, as the peer reads. */
	for (size_t left = (size_t)sent * (MAX_MESSAGE + 1) + 7; left > 0;) {
		ssize_t n = read(p->there, text, sizeof(text));

		assert_true(n > 0);
		left -= (size_t)n;
		assert_true(channel_flush(&p->here) >= 0);
	}
	assert_false(channel_has_output(&p->here));
}

static void test_peer_is_gone(void **state)
{
	struct pair *p = *state;

	fd_close(&p->there);
	assert_int_equal(channel_send(&p->here, "1", 1, -1, 0), 0);
	assert_int_equal(channel_flush(&p->here), -EPIPE);
	channel_close(&p->here);
	assert_int_equal(channel_send(&p->here, "1", 1, -1, 0), -EPIPE);
	channel_close(&p->here);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_lines_cut_anywhere),  TEST(test_many_in_one_read),
	    TEST(test_end_of_file),         TEST(test_longest_line),
	    TEST(test_fd_waits_for_its_line), TEST(test_strays_are_closed),
	    TEST(test_too_many_fds),        TEST(test_sent_fds_go_one_by_one),
	    TEST(test_lent_fd_stays_open),  TEST(test_line_breaks_become_spaces),
	    TEST(test_bounds_of_the_queue), TEST(test_peer_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
