/* The text form of addresses, both ways, and from what getsockname() says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "base/address.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *text;
	int family;
	int port;
	const char *host;      /* tcp */
	const char *path;      /* unix */
	const char *canonical; /* NULL: the text itself */
} good[] = {
	{"tcp://:8000", AF_UNSPEC, 8000, "", "", NULL},
	{"tcp://:0", AF_UNSPEC, 0, "", "", NULL},
	{"tcp://127.0.0.1:8000", AF_INET, 8000, "127.0.0.1", "", NULL},
	{"tcp://0.0.0.0:65535", AF_INET, 65535, "0.0.0.0", "", NULL},
	{"tcp://[::1]:0", AF_INET6, 0, "::1", "", NULL},
	{"tcp://[::]:8000", AF_INET6, 8000, "::", "", NULL},
	{"tcp://[::ffff:10.0.0.1]:1", AF_INET6, 1, "::ffff:10.0.0.1", "", NULL},
	{"tcp://[0:0:0:0:0:0:0:1]:80", AF_INET6, 80, "::1", "", "tcp://[::1]:80"},
	{"tcp://[2001:DB8::A]:00080", AF_INET6, 80, "2001:db8::a", "", "tcp://[2001:db8::a]:80"},
	{"tcp://[1111:2222:3333:4444:5555:6666:7777:8888]:9", AF_INET6, 9,
	 "1111:2222:3333:4444:5555:6666:7777:8888", "", NULL},
	{"tcp://[FE80::01%lo]:80", AF_INET6, 80, "fe80::1%lo", "", "tcp://[fe80::1%lo]:80"},
	{"udp://:8000", AF_UNSPEC, 8000, "", "", NULL},
	{"udp://127.0.0.1:53", AF_INET, 53, "127.0.0.1", "", NULL},
	{"udp://[0::1]:0", AF_INET6, 0, "::1", "", "udp://[::1]:0"},
	{"unix:///run/a.sock", AF_UNIX, 0, "", "/run/a.sock", NULL},
	{"unix:///a", AF_UNIX, 0, "", "/a", NULL},
	{"unix://@abstract", AF_UNIX, 0, "", "@abstract", NULL},
	{"unix:///with space:and:colon", AF_UNIX, 0, "", "/with space:and:colon", NULL},
};

static const struct {
	const char *text;
	const char *why; /* what the reason speaks of */
} bad[] = {
	{"", "tcp://"},
	{"8000", "tcp://"},
	{":8000", "tcp://"},
	{"tcp:8000", "tcp://"},
	{"tcp:/", "tcp://"},
	{"TCP://:8000", "tcp://"},
	{" tcp://:8000", "tcp://"},
	{"UDP://:8000", "tcp://"},
	{"udp:8000", "udp://"},
	{"udp://8000", "udp://HOST"},
	{"udp://[::1]", "udp://HOST"},
	{"udp://:65536", "port"},
	{"udp://localhost:53", "numeric"},
	{"http://127.0.0.1:8000", "tcp://"},
	{"/run/a.sock", "unix://"},
	{"unix:/run/a.sock", "unix://"},
	{"tcp://", "port"},
	{"tcp://8000", "port"},
	{"tcp://127.0.0.1", "port"},
	{"tcp://[::1]", "port"},
	{"tcp://[::]", "port"},
	{"tcp://:", "port"},
	{"tcp://127.0.0.1:", "port"},
	{"tcp://:x", "port"},
	{"tcp://:-1", "port"},
	{"tcp://:+1", "port"},
	{"tcp://: 1", "port"},
	{"tcp://:1 ", "port"},
	{"tcp://:80/", "port"},
	{"tcp://:65536", "port"},
	{"tcp://:99999", "port"},
	{"tcp://:4294967376", "port"},
	{"tcp://:99999999999999999999999999", "port"},
	{"tcp://localhost:80", "numeric"},
	{"tcp://*:80", "numeric"},
	{"tcp://1.2.3:80", "numeric"},
	{"tcp://1.2.3.256:80", "numeric"},
	{"tcp://1.2.3.4 :80", "numeric"},
	{"tcp://::1:80", "numeric"},
	{"tcp://::80", "numeric"},
	{"tcp://[]:80", "numeric"},
	{"tcp://[:80", "numeric"},
	{"tcp://]:80", "numeric"},
	{"tcp://[::1:80", "numeric"},
	{"tcp://::1]:80", "numeric"},
	{"tcp://[127.0.0.1]:80", "numeric"},
	{"tcp://[::1]x:80", "numeric"},
	{"tcp://[fe80::1%]:80", "numeric"},
	{"tcp://[fe80::1%an-interface-too-long]:80", "numeric"},
	{"tcp://127.0.0.1%lo:80", "numeric"},
	{"tcp://[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:80", "numeric"},
	{"tcp://user@1.2.3.4:80", "numeric"},
	{"unix://", "absolute"},
	{"unix://a.sock", "absolute"},
	{"unix://@", "abstract"},
	{"unix:///", "directory"},
	{"unix:///run/", "directory"},
};

static enum address_kind kind_of(const char *text)
{
	return text[0] == 't' ? ADDRESS_TCP : text[1] == 'd' ? ADDRESS_UDP : ADDRESS_UNIX;
}

static void test_good(void **state)
{
	char text[ADDRESS_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		const char *canonical = good[i].canonical ? good[i].canonical : good[i].text;
		const char *why = NULL;
		struct address a;

		if (address_parse(good[i].text, &a, &why) != 0)
			fail_msg("%s: %s", good[i].text, why);
		assert_int_equal(a.kind, kind_of(good[i].text));
		assert_int_equal(a.family, good[i].family);
		assert_int_equal(a.port, good[i].port);
		assert_string_equal(a.host, good[i].host);
		assert_string_equal(a.path, good[i].path);
		assert_ptr_equal(address_format(&a, text, sizeof(text)), text);
		assert_string_equal(text, canonical);
	}
}

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		const char *why = "";
		struct address a, before;

		memset(&a, 0x5a, sizeof(a));
		memcpy(&before, &a, sizeof(a));
		if (address_parse(bad[i].text, &a, &why) != -EINVAL)
			fail_msg("taken: %s", bad[i].text);
		if (!strstr(why, bad[i].why))
			fail_msg("%s: %s", bad[i].text, why);
		assert_memory_equal(&a, &before, sizeof(a));
	}
}

static void test_path_limit(void **state)
{
	char text[ADDRESS_TEXT_MAX + 8] = "unix://", out[ADDRESS_TEXT_MAX];
	const char *why = "";
	struct address a;

	(void)state;
	memset(text + 7, '/', 1);
	memset(text + 8, 'x', ADDRESS_PATH_MAX - 2);
	assert_int_equal(address_parse(text, &a, &why), 0);
	assert_int_equal(strlen(a.path), ADDRESS_PATH_MAX - 1);
	assert_string_equal(address_format(&a, out, sizeof(out)), text);
	text[strlen(text)] = 'x';
	assert_int_equal(address_parse(text, &a, &why), -EINVAL);
	assert_non_null(strstr(why, "4096"));
}

static void test_format_truncates(void **state)
{
	struct address a = {.kind = ADDRESS_TCP, .family = AF_INET, .port = 80, .host = "1.2.3.4"};
	char out[8];

	(void)state;
	assert_string_equal(address_format(&a, out, sizeof(out)), "tcp://1");
}

static void check_socket(const void *from, socklen_t len, const char *expected)
{
	struct sockaddr_storage storage = {0};
	char text[ADDRESS_TEXT_MAX];
	struct address a;

	memcpy(&storage, from, len);
	assert_int_equal(address_from_socket(&storage, len, &a), 0);
	assert_string_equal(address_format(&a, text, sizeof(text)), expected);
}

static void check_no_socket(const void *from, socklen_t len)
{
	struct sockaddr_storage storage = {0};
	struct address a, before;

	memset(&a, 0x5a, sizeof(a));
	memcpy(&before, &a, sizeof(a));
	memcpy(&storage, from, len);
	assert_int_equal(address_from_socket(&storage, len, &a), -EAFNOSUPPORT);
	assert_memory_equal(&a, &before, sizeof(a));
}

static void test_from_tcp(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(8000)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(65535)};

	(void)state;
	check_socket(&in, sizeof(in), "tcp://0.0.0.0:8000");
	in.sin_addr.s_addr = htonl(0x7f000001);
	check_socket(&in, sizeof(in), "tcp://127.0.0.1:8000");
	check_no_socket(&in, sizeof(in) - 1);
	check_socket(&in6, sizeof(in6), "tcp://[::]:65535");
	in6.sin6_addr = in6addr_loopback;
	check_socket(&in6, sizeof(in6), "tcp://[::1]:65535");
	check_no_socket(&in6, sizeof(in6) - 1);
}

static void test_from_unix(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/run/a.sock"};
	socklen_t offset = offsetof(struct sockaddr_un, sun_path);
	char expected[sizeof(un.sun_path) + 8] = "unix://";

	(void)state;
	check_socket(&un, sizeof(un), "unix:///run/a.sock");
	check_socket(&un, offset + 12, "unix:///run/a.sock"); /* as the kernel: with the NUL */
	check_socket(&un, offset + 11, "unix:///run/a.sock");
	check_no_socket(&un, offset); /* unnamed */
	memset(un.sun_path + 1, 'x', sizeof(un.sun_path) - 1);
	memcpy(expected + 7, un.sun_path, sizeof(un.sun_path));
	check_socket(&un, sizeof(un), expected); /* full, without a NUL */
	un.sun_path[0] = 0;
	expected[7] = '@';
	check_socket(&un, sizeof(un), expected); /* abstract */
	memset(un.sun_path + 3, 0, sizeof(un.sun_path) - 3);
	check_socket(&un, sizeof(un), "unix://@xx"); /* padded */
	check_socket(&un, offset + 3, "unix://@xx");
	check_no_socket(&un, offset + 1);
	un.sun_path[2] = 'x';
	un.sun_path[0] = 'r';
	check_no_socket(&un, sizeof(un)); /* relative */
}

static void test_from_others(void **state)
{
	struct sockaddr sa = {.sa_family = AF_NETLINK};

	(void)state;
	check_no_socket(&sa, sizeof(sa));
	check_no_socket(&sa, 0);
	check_no_socket(&sa, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_path_limit),
		cmocka_unit_test(test_format_truncates),
		cmocka_unit_test(test_from_tcp),
		cmocka_unit_test(test_from_unix),
		cmocka_unit_test(test_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
