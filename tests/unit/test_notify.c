/* What sd_notify(3) sends, taken apart; a worker's socket. */
#include "life/notify.h"

#include "life/crew.h"
#include "life/worker.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static void test_lines(void **state)
{
	static const struct {
		const char *text;
		bool ready, stopping, watchdog;
		const char *status;
	} cases[] = {
	    {"", false, false, false, NULL},
	    {"\n", false, false, false, NULL},
	    {"\n\n\n", false, false, false, NULL},
	    {"READY=1", true, false, false, NULL},
	    {"READY=1\n", true, false, false, NULL},
	    {"\nREADY=1\n\n", true, false, false, NULL},
	    {"READY=0", false, false, false, NULL},
	    {"READY=11", false, false, false, NULL},
	    {"READY=", false, false, false, NULL},
	    {"READY", false, false, false, NULL},
	    {"ready=1", false, false, false, NULL},
	    {" READY=1", false, false, false, NULL},
	    {"READY=1 ", false, false, false, NULL},
	    {"READY=1\r\n", false, false, false, NULL},
	    {"XREADY=1", false, false, false, NULL},
	    {"STATUS=READY=1", false, false, false, "READY=1"},
	    {"STOPPING=1", false, true, false, NULL},
	    {"RELOADING=1\nMONOTONIC_USEC=5", false, false, false, NULL},
	    {"WATCHDOG=1", false, false, true, NULL},
	    {"WATCHDOG=trigger", false, false, false, NULL},
	    {"STATUS=", false, false, false, ""},
	    {"STATUS", false, false, false, NULL},
	    {"STATUS=one\nSTATUS=two", false, false, false, "two"},
	    {"STATUS=one\nSTATUS=\n", false, false, false, ""},
	    {"MAINPID=17\nFDSTORE=1\nFDNAME=x\nREADY=1\nSTATUS=a = b\nERRNO=2\nBARRIER=1\n", true, false, false, "a = b"},
	    {"READY=1\nSTOPPING=1\nWATCHDOG=1\nSTATUS=all", true, true, true, "all"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		/* With the NUL that some send, and without; in memory that ends there. */
		for (size_t length = strlen(cases[i].text), more = 0; more < 2; more++) {
			char *text = malloc(length + more + !(length + more));
			struct notify_message m;

			memcpy(text, cases[i].text, length + more);
			assert_int_equal(notify_parse(text, length + more, &m), 0);
			assert_int_equal(m.ready, cases[i].ready);
			assert_int_equal(m.stopping, cases[i].stopping);
			assert_int_equal(m.watchdog, cases[i].watchdog);
			assert_int_equal(m.status != NULL, cases[i].status != NULL);
			if (m.status) {
				assert_int_equal(m.status_length, strlen(cases[i].status));
				assert_memory_equal(m.status, cases[i].status, m.status_length);
			}
			free(text);
		}
	}
}

static void test_no_text(void **state)
{
	static const struct {
		const char *text;
		size_t length;
	} cases[] = {{"READY=1\0\0", 9}, {"\0READY=1", 8}, {"READY=1\0\nSTATUS=x", 17}, {"\0\0", 2}};
	struct notify_message m = {.ready = true};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(notify_parse(cases[i].text, cases[i].length, &m), -EINVAL);
		assert_true(m.ready); /* untouched */
	}
}

/* length bytes of a status with that character at the end of them; so much of it stays. */
static void expect_cut(const char *character, size_t before, size_t wanted)
{
	char text[1024] = "STATUS=";
	size_t name = strlen(text), length = name + before + strlen(character);
	struct notify_message m;

	memset(text + name, 'x', before);
	memcpy(text + name + before, character, strlen(character));
	memset(text + length, 'y', 300);
	assert_int_equal(notify_parse(text, length + 300, &m), 0);
	assert_int_equal(m.status_length, wanted);
}

static void test_cut(void **state)
{
	static const char *const characters[] = {"y", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\x9d"};

	for (size_t i = 0; i < 4; i++)
		for (size_t before = NOTIFY_STATUS_MOST - 6; before <= NOTIFY_STATUS_MOST; before++) {
			size_t end = before + strlen(characters[i]);

			expect_cut(characters[i], before, end > NOTIFY_STATUS_MOST ? before : NOTIFY_STATUS_MOST);
		}
	for (size_t length = NOTIFY_STATUS_MOST - 1; length <= NOTIFY_STATUS_MOST; length++) {
		char text[512] = "STATUS=";
		struct notify_message m;

		memset(text + 7, 'x', length);
		assert_int_equal(notify_parse(text, 7 + length, &m), 0);
		assert_int_equal(m.status_length, length);
	}
}

/* Nothing but middles of characters: no text, but a status it is. */
static void test_cut_of_no_characters(void **state)
{
	char text[600] = "STATUS=";
	struct notify_message m;

	memset(text + 7, 0x80, sizeof(text) - 7);
	assert_int_equal(notify_parse(text, sizeof(text), &m), 0);
	assert_int_equal(m.status_length, NOTIFY_STATUS_MOST);
}

/* Any bytes: what comes back lies within them. */
static void test_any_bytes(void **state)
{
	static const char *const parts[] = {"READY=1", "STATUS=", "STOPPING=1", "\n", "\0", "=", "x", "\xc3", "\xa4",
					    "WATCHDOG=1", "STATUS", "1"};
	uint32_t random = 1;

	for (unsigned i = 0; i < 20000; i++) {
		char *text = malloc(4096), *exact;
		struct notify_message m;
		size_t length = 0;

		for (random = random * 1664525 + 1013904223; random >> 28 && length < 700;
		     random = random * 1664525 + 1013904223) {
			const char *part = parts[(random >> 8) % (sizeof(parts) / sizeof(parts[0]))];
			size_t size = *part ? strlen(part) : 1;

			memcpy(text + length, part, size);
			length += size;
		}
		exact = malloc(length + !length);
		memcpy(exact, text, length);
		if (notify_parse(exact, length, &m) == 0 && m.status) {
			assert_in_range(m.status - exact, 7, length);
			assert_in_range(m.status_length, 0, length - (size_t)(m.status - exact));
			assert_true(m.status_length <= NOTIFY_STATUS_MOST);
			assert_null(memchr(m.status, '\n', m.status_length));
		}
		free(exact);
		free(text);
	}
}

static int send_to(const char *variable, const char *text)
{
	static const char begin[] = "NOTIFY_SOCKET=@";
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t name = strlen(variable) - strlen(begin);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	assert_memory_equal(variable, begin, strlen(begin));
	memcpy(to.sun_path + 1, variable + strlen(begin), name);
	err = sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + name)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static void test_a_socket_each(void **state)
{
	struct umbel_settings settings = {.uid = -1};
	struct crew crew = {.settings = &settings};
	struct umbel_worker one = {.crew = &crew, .notify.fd = -1}, other = one;
	char variables[2][NOTIFY_VARIABLE];

	assert_int_equal(notify_open(&one, variables[0]), 0);
	assert_int_equal(notify_open(&other, variables[1]), 0);
	assert_string_not_equal(variables[0], variables[1]);
	assert_int_equal(send_to(variables[0], "STATUS=one"), 0);
	assert_int_equal(send_to(variables[1], "STATUS=other"), 0);
	notify_read(&one);
	notify_read(&other);
	assert_string_equal(one.status, "one");
	assert_string_equal(other.status, "other");
	notify_close(&one);
	assert_int_equal(one.notify.fd, -1);
	assert_int_equal(send_to(variables[0], "STATUS=late"), -ECONNREFUSED);
	assert_int_equal(send_to(variables[1], "STATUS="), 0);
	notify_read(&other);
	assert_null(other.status);
	notify_close(&other);
	free(one.status);
}

static void test_out_of_descriptors(void **state)
{
	struct umbel_settings settings = {.uid = -1};
	struct crew crew = {.settings = &settings};
	struct umbel_worker w = {.crew = &crew, .notify.fd = -1};
	char variable[NOTIFY_VARIABLE] = "";
	int lowest = dup(0);
	struct rlimit before, none;

	close(lowest);
	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit){(rlim_t)lowest, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(notify_open(&w, variable), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &before);
	assert_int_equal(w.notify.fd, -1);
	assert_string_equal(variable, "");
	assert_false(notify_begin(&w));
	notify_read(&w);
	notify_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_no_text),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_cut_of_no_characters),
	    cmocka_unit_test(test_any_bytes),
	    cmocka_unit_test(test_a_socket_each),
	    cmocka_unit_test(test_out_of_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
