/* Node's messages, from text and to text. The lines are captures of Node 20 to 26. */
#include "wire/node.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *line;
	int result;
	enum node_line_kind kind;
	bool has_fd;
	const char *text; /* NULL: the line */
} lines[] = {
    {"{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":0}", 0, NODE_LINE_INTERNAL, false, NULL},
    {"{\"cmd\":\"NODE_HANDLE_ACK\"}", 0, NODE_LINE_ACK, false, NULL},
    {"{\"cmd\":\"NODE_HANDLE_NACK\"}", 0, NODE_LINE_NACK, false, NULL},
    {"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":{\"a\":[1e400]}}", 0, NODE_LINE_USER, true,
     "{\"a\":[1e400]}"},
    {"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\"}}",
     0, NODE_LINE_INTERNAL, true, "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\"}"},
    {"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\"}", -EINVAL, 0, false, NULL},
    {NODE_DRAIN_TEXT, 0, NODE_LINE_INTERNAL, false, NULL},
    {NODE_WARM_TEXT, 0, NODE_LINE_INTERNAL, false, NULL},
    {"{\"cmd\":\"NODE_UMBEL_PRELOAD\"}", 0, NODE_LINE_INTERNAL, false, NULL},
    {"\"ready\"", 0, NODE_LINE_USER, false, NULL},
    {"{\"cmd\":\"NODE_\"}", 0, NODE_LINE_USER, false, NULL},
    {"{\"cmd\":\"NODEX\"}", 0, NODE_LINE_USER, false, NULL},
    {"{\"cmd\":5}", 0, NODE_LINE_USER, false, NULL},
    {"{\"in\":{\"cmd\":\"NODE_CLUSTER\"}}", 0, NODE_LINE_USER, false, NULL},
    {"\"\\ud800\"", 0, NODE_LINE_USER, false, NULL},
    {"18446744073709551616", 0, NODE_LINE_USER, false, NULL},
    {"null", 0, NODE_LINE_USER, false, NULL},
    {"", -EINVAL, 0, false, NULL},
    {"{", -EINVAL, 0, false, NULL},
};

static void test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct node_line l;
		const char *text = lines[i].text ? lines[i].text : lines[i].line;
		int r = node_read_line(lines[i].line, strlen(lines[i].line), &l);

		assert_int_equal(r, lines[i].result);
		if (r)
			continue;
		assert_int_equal(l.kind, lines[i].kind);
		assert_int_equal(l.has_fd, lines[i].has_fd);
		assert_int_equal(l.len, strlen(text));
		assert_memory_equal(l.text, text, l.len);
	}
}

static struct node_message decode(const char *text)
{
	struct node_message m;

	assert_int_equal(node_decode(text, strlen(text), &m), 0);
	return m;
}

static void test_query(void **state)
{
	struct node_message m = decode(
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"index\":0,\"data\":null,\"address\":\"127.0.0.1\","
	    "\"port\":8000,\"addressType\":4,\"flags\":0,\"backlog\":false,\"seq\":1}");

	(void)state;
	assert_int_equal(m.type, NODE_QUERY);
	assert_int_equal(m.seq, 1);
	assert_string_equal(m.query.address, "127.0.0.1");
	assert_int_equal(m.query.port, 8000);
	assert_int_equal(m.query.family, NODE_TCP4);
	assert_int_equal(m.query.fd, -1);
	assert_int_equal(m.query.backlog, 0);
	node_message_finish(&m);
}

static void test_families(void **state)
{
	static const struct {
		const char *type;
		enum node_family family;
	} table[] = {{"4", NODE_TCP4},         {"6", NODE_TCP6},         {"-1", NODE_PIPE},
		     {"\"udp4\"", NODE_UDP4}, {"\"udp6\"", NODE_UDP6}, {"null", NODE_FD}};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char text[256] = "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"seq\":1,\"addressType\":";
		struct node_message m;

		strcat(strcat(text, table[i].type), "}");
		m = decode(text);
		assert_int_equal(m.query.family, table[i].family);
		node_message_finish(&m);
	}
}

static void test_replies(void **state)
{
	struct node_message m = decode(
	    "{\"cmd\":\"NODE_CLUSTER\",\"errno\":null,\"key\":\"k\",\"ack\":1,\"data\":null,\"sockname\":{"
	    "\"address\":\"127.0.0.1\",\"family\":\"IPv4\",\"port\":8000},\"seq\":0}");

	(void)state;
	assert_int_equal(m.type, NODE_REPLY);
	assert_int_equal(m.ack, 1);
	assert_int_equal(m.error, 0);
	assert_string_equal(m.host, "127.0.0.1");
	assert_int_equal(m.port, 8000);
	assert_int_equal(m.lane, -1);
	node_message_finish(&m);
	m = decode("{\"cmd\":\"NODE_CLUSTER\",\"ack\":7,\"accepted\":true,\"seq\":3}");
	assert_int_equal(m.type, NODE_REPLY);
	assert_true(m.accepted);
	node_message_finish(&m);
	m = decode("{\"cmd\":\"NODE_CLUSTER\",\"ack\":-1}"); /* Node's own test sends this */
	assert_int_equal(m.type, NODE_REPLY);
	node_message_finish(&m);
}

/* Whatever a program says to listen() costs an answer, not the worker. */
static void test_bad_questions(void **state)
{
	static const char *const bad[] = {
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"port\":65536,\"addressType\":4}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"port\":\"8000\",\"addressType\":4}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"port\":1.5,\"addressType\":4}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"addressType\":5}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"addressType\":{}}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"addressType\":4,\"address\":7}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"fd\":3.5,\"addressType\":null}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"fd\":1099511627776,\"addressType\":null}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"address\":\"/a\\u0000b\",\"addressType\":-1}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"address\":\"/\\u0000b\\u0000\",\"addressType\":-1}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct node_message m = decode(bad[i]);

		assert_int_equal(m.type, NODE_QUERY);
		assert_true(m.query.is_bad);
		node_message_finish(&m);
	}
}

static void expect_backlog(const char *written, int backlog)
{
	char text[256];
	struct node_message m;

	snprintf(text, sizeof(text), "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"addressType\":4,"
		 "\"backlog\":%s,\"data\":[1],\"seq\":1}", written);
	m = decode(text);
	assert_false(m.query.is_bad);
	assert_int_equal(m.query.backlog, backlog);
	node_message_finish(&m);
}

static void test_odd_numbers(void **state)
{
	(void)state;
	expect_backlog("1.5", 1);
	expect_backlog("10000000000000000000", INT_MAX);
	expect_backlog("-1e300", INT_MIN);
	expect_backlog("5000000000", INT_MAX);
}

static void expect_address(const char *written, const char *address, bool is_abstract)
{
	char text[256];
	struct node_message m;

	snprintf(text, sizeof(text), "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"addressType\":-1,"
		 "\"address\":\"%s\"}", written);
	m = decode(text);
	assert_false(m.query.is_bad);
	assert_string_equal(m.query.address, address);
	assert_int_equal(m.query.is_abstract, is_abstract);
	node_message_finish(&m);
}

static void test_odd_addresses(void **state)
{
	(void)state;
	expect_address("/home/a/\\u0000name", "name", true);
	expect_address("/a\\ud800b", "/a\xef\xbf\xbd" "b", false);
	expect_address("/a\\udc00", "/a\xef\xbf\xbd", false);
	expect_address("/a\\ud800\\ud800\\udc00", "/a\xef\xbf\xbd\xf0\x90\x80\x80", false);
	expect_address("/a\\\\ud800\\ud83d\\ude00", "/a\\ud800\xf0\x9f\x98\x80", false);
	expect_address("/a\\\\ud800\\ud800", "/a\\ud800\xef\xbf\xbd", false);
}

static void test_bad_messages(void **state)
{
	static const char *const bad[] = {
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"close\"}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"close\",\"key\":7}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\"}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"errno\":\"x\"}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":-1}",
	    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":18446744073709551616}",
	    "{\"cmd\":\"NODE_UMBEL_DONE\"}",
	    "{\"cmd\":\"NODE_UMBEL_DONE\",\"count\":1}",
	    "{\"cmd\":\"NODE_UMBEL_DONE\",\"count\":null,\"open\":1}",
	    "{\"cmd\":\"NODE_UMBEL_DONE\",\"count\":-1,\"open\":1}",
	    "{\"cmd\":\"NODE_UMBEL_DONE\",\"count\":1,\"open\":-1}",
	    "{\"cmd\":\"NODE_UMBEL_DONE\",\"count\":1,\"open\":2147483648}",
	    "{\"cmd\":\"NODE_UMBEL_DONE\",\"count\":1.5,\"open\":1}",
	    "{\"cmd\":\"NODE_UMBEL_DONE\",\"count\":\"1\",\"open\":1}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct node_message m;

		assert_int_equal(node_decode(bad[i], strlen(bad[i]), &m), -EINVAL);
	}
}

/* A slot has a number from 1 on. */
static void test_slot_message(void **state)
{
	static const char *const bad[] = {
	    "{\"cmd\":\"NODE_UMBEL_SLOT\"}",		 "{\"cmd\":\"NODE_UMBEL_SLOT\",\"slot\":0}",
	    "{\"cmd\":\"NODE_UMBEL_SLOT\",\"slot\":null}", "{\"cmd\":\"NODE_UMBEL_SLOT\",\"slot\":-1}",
	    "{\"cmd\":\"NODE_UMBEL_SLOT\",\"slot\":\"1\"}"};
	char *text = node_encode_slot(1024);
	struct node_message m = decode(text);

	(void)state;
	assert_int_equal(m.type, NODE_UMBEL_SLOT);
	assert_int_equal(m.slot, 1024);
	node_message_finish(&m);
	free(text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(node_decode(bad[i], strlen(bad[i]), &m), -EINVAL);
}

/* Readiness, and what a preload says. */
static void test_own_messages(void **state)
{
	static const struct {
		const char *text;
		enum node_type type;
		bool ready;
	} table[] = {
	    {"{\"cmd\":\"NODE_UMBEL_READY\",\"ready\":true}", NODE_UMBEL_READY, true},
	    {"{\"cmd\":\"NODE_UMBEL_READY\",\"ready\":false}", NODE_UMBEL_READY, false},
	    {"{\"cmd\":\"NODE_UMBEL_READY\"}", NODE_UMBEL_READY, true},
	    {"{\"cmd\":\"NODE_UMBEL_READY\",\"ready\":null}", NODE_UMBEL_READY, true},
	    {"{\"cmd\":\"NODE_UMBEL_PRELOAD\"}", NODE_UMBEL_PRELOAD, false},
	    {"{\"cmd\":\"NODE_UMBEL_PRELOAD\",\"more\":[1]}", NODE_UMBEL_PRELOAD, false},
	    {"{\"cmd\":\"NODE_UMBEL_DRAINED\"}", NODE_UMBEL_DRAINED, false},
	    {"{\"cmd\":\"NODE_UMBEL_HELLO\",\"version\":1}", NODE_UMBEL_HELLO, false},
	    {"{\"cmd\":\"NODE_UMBEL_DONE\",\"count\":0,\"open\":0}", NODE_UMBEL_DONE, false},
	    {"{\"cmd\":\"NODE_UMBEL_SLOT\",\"slot\":1}", NODE_UMBEL_SLOT, false},
	    /* A worker has nothing to say with these, and names are whole. */
	    {NODE_DRAIN_TEXT, NODE_UNKNOWN, false},
    {NODE_WARM_TEXT, NODE_UNKNOWN, false},
	    {NODE_COUNT_TEXT, NODE_UNKNOWN, false},
	    {NODE_COUNT_NO_MORE_TEXT, NODE_UNKNOWN, false},
	    {"{\"cmd\":\"NODE_UMBEL_DRAINE\"}", NODE_UNKNOWN, false},
	    {"{\"cmd\":\"NODE_UMBEL_PRELOADED\"}", NODE_UNKNOWN, false},
	    {"{\"act\":\"NODE_UMBEL_READY\"}", NODE_UNKNOWN, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct node_message m = decode(table[i].text);

		assert_int_equal(m.type, table[i].type);
		assert_int_equal(m.ready, table[i].ready);
		node_message_finish(&m);
	}
}

static void test_done(void **state)
{
	struct node_message m = decode("{\"cmd\":\"NODE_UMBEL_DONE\",\"count\":3,\"open\":2147483647}");

	(void)state;
	assert_int_equal(m.type, NODE_UMBEL_DONE);
	assert_int_equal(m.finished, 3);
	assert_int_equal(m.open, INT32_MAX);
	node_message_finish(&m);
}

/* Options are a string without a NUL, or it cannot be meant. */
static void test_options(void **state)
{
	static const struct {
		const char *value;
		const char *options;
		bool is_bad;
	} table[] = {
	    {"\"backlog=5&mode=0660\"", "backlog=5&mode=0660", false},
	    {"\"\"", "", false},
	    {"null", NULL, false},
	    {"5", NULL, true},
	    {"[\"backlog=5\"]", NULL, true},
	    {"\"backlog=5\\u0000\"", NULL, true},
	};
	char line[256];

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct node_message m;

		snprintf(line, sizeof(line), "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"port\":1,"
			 "\"addressType\":4,\"seq\":1,\"options\":%s,\"accepts\":%s}", table[i].value,
			 i % 2 ? "true" : "1");
		m = decode(line);
		assert_int_equal(m.query.is_bad, table[i].is_bad);
		assert_int_equal(m.query.accepts, i % 2);
		if (table[i].options)
			assert_string_equal(m.query.options, table[i].options);
		else
			assert_null(m.query.options);
		node_message_finish(&m);
	}
}

static void test_hello(void **state)
{
	struct node_message m = decode("{\"cmd\":\"NODE_UMBEL_HELLO\",\"version\":1}");
	char *text = node_encode_hello(1000);

	(void)state;
	assert_int_equal(m.type, NODE_UMBEL_HELLO);
	assert_false(m.wants_scoreboard);
	assert_int_equal(m.descriptors, 0);
	node_message_finish(&m);
	m = decode(text);
	assert_true(m.wants_scoreboard);
	assert_int_equal(m.descriptors, 1000);
	node_message_finish(&m);
	free(text);
	assert_int_equal(node_decode("{\"cmd\":\"NODE_UMBEL_HELLO\",\"descriptors\":-1}", 43, &m), -EINVAL);
}

static void test_scoreboard(void **state)
{
	char *text = node_encode_scoreboard();
	struct node_message m;
	struct node_line l;

	(void)state;
	assert_int_equal(node_read_line(text, strlen(text), &l), 0);
	assert_true(l.has_fd);
	assert_int_equal(node_decode(l.text, l.len, &m), 0);
	assert_int_equal(m.type, NODE_UMBEL_SCOREBOARD);
	node_message_finish(&m);
	free(text);
}

/* What we encode we decode. */
static void test_ready_there_and_back(void **state)
{
	(void)state;
	for (int ready = 0; ready < 2; ready++) {
		char *text = node_encode_ready(ready);
		struct node_message m;

		assert_non_null(text);
		m = decode(text);
		assert_int_equal(m.type, NODE_UMBEL_READY);
		assert_int_equal(m.ready, ready);
		node_message_finish(&m);
		free(text);
	}
}

static void test_unknown_is_dropped(void **state)
{
	struct node_message m = decode("{\"cmd\":\"NODE_SOMETHING\",\"act\":\"online\"}");

	(void)state;
	assert_int_equal(m.type, NODE_UNKNOWN);
	node_message_finish(&m);
	m = decode("{\"cmd\":\"NODE_CLUSTER\",\"act\":\"suicide\"}");
	assert_int_equal(m.type, NODE_UNKNOWN);
	node_message_finish(&m);
}

static void expect_text(char *text, const char *expected)
{
	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
}

static void test_encode(void **state)
{
	struct node_sockname name = {"::", true, 8000}, none = {NULL, false, 0};
	struct node_query q = {.address = NULL, .family = NODE_TCP4, .port = 8000, .fd = -1};
	char line[256];
	size_t len;
	char *text;

	(void)state;
	expect_text(node_encode_act("online", 0), "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":0}");
	expect_text(node_encode_ack(5, 6), "{\"cmd\":\"NODE_CLUSTER\",\"ack\":5,\"seq\":6}");
	expect_text(node_encode_accepted(1, true, 3),
		    "{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"accepted\":true,\"seq\":3}");
	expect_text(node_encode_close("a\"b", 4),
		    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"close\",\"key\":\"a\\\"b\",\"seq\":4}");
	expect_text(node_encode_query("queryServer", &q, 1),
		    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"index\":0,\"data\":null,\"address\":null,"
		    "\"port\":8000,\"addressType\":4,\"flags\":0,\"backlog\":0,\"seq\":1}");
	q.flags = NODE_FLAG_IPV6ONLY;
	q.backlog = 511;
	q.options = "backlog=511&ipv6_only";
	expect_text(node_encode_query("queryServer", &q, 1),
		    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"index\":0,\"data\":null,\"address\":null,"
		    "\"port\":8000,\"addressType\":4,\"flags\":1,\"backlog\":511,\"seq\":1,"
		    "\"options\":\"backlog=511&ipv6_only\"}");
	q.options = NULL;
	q.accepts = true;
	expect_text(node_encode_query("queryServer", &q, 1),
		    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"index\":0,\"data\":null,\"address\":null,"
		    "\"port\":8000,\"addressType\":4,\"flags\":1,\"backlog\":511,\"seq\":1,\"accepts\":true}");
	expect_text(node_encode_lent_reply(1, "k", false, NULL, -1, 0),
		    "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\","
		    "\"errno\":0,\"key\":\"k\",\"ack\":1,\"data\":null,\"seq\":0}}");
	expect_text(node_encode_lent_reply(1, "k", false, NULL, 255, 0),
		    "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\","
		    "\"errno\":0,\"key\":\"k\",\"ack\":1,\"data\":null,\"seq\":0,\"lane\":255}}");
	expect_text(node_encode_listen_reply(1, "k", 0, NULL, &name, -1, 0),
		    "{\"cmd\":\"NODE_CLUSTER\",\"errno\":null,\"key\":\"k\",\"ack\":1,\"data\":null,\"seq\":0,"
		    "\"sockname\":{\"address\":\"::\",\"family\":\"IPv6\",\"port\":8000}}");
	expect_text(node_encode_listen_reply(1, "k", -98, NULL, &none, 3, 0),
		    "{\"cmd\":\"NODE_CLUSTER\",\"errno\":-98,\"key\":\"k\",\"ack\":1,\"data\":null,\"seq\":0,"
		    "\"lane\":3}");
	expect_text(node_encode_ready(true), "{\"cmd\":\"NODE_UMBEL_READY\",\"ready\":true}");
	expect_text(node_encode_slot(3), "{\"cmd\":\"NODE_UMBEL_SLOT\",\"slot\":3}");
	expect_text(node_encode_ready(false), "{\"cmd\":\"NODE_UMBEL_READY\",\"ready\":false}");
	len = node_write_newconn(line, sizeof(line), "\"k\"", 9);
	assert_int_equal(len, strlen(line));
	assert_string_equal(line, "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\","
				  "\"act\":\"newconn\",\"key\":\"k\",\"seq\":9}}");
	assert_int_equal(node_write_newconn(line, 20, "\"k\"", 9), 0);
	text = node_encode_user_handle("{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":", "[1]", 3,
				       &len);
	assert_memory_equal(text, "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":[1]}", len);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lines),        cmocka_unit_test(test_query),
	    cmocka_unit_test(test_families),     cmocka_unit_test(test_replies),
	    cmocka_unit_test(test_bad_messages), cmocka_unit_test(test_bad_questions),
	    cmocka_unit_test(test_odd_numbers),  cmocka_unit_test(test_odd_addresses),
	    cmocka_unit_test(test_unknown_is_dropped),
	    cmocka_unit_test(test_own_messages),
	    cmocka_unit_test(test_slot_message),
	    cmocka_unit_test(test_done), cmocka_unit_test(test_ready_there_and_back),
	    cmocka_unit_test(test_hello),        cmocka_unit_test(test_scoreboard),
	    cmocka_unit_test(test_options),      cmocka_unit_test(test_encode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
