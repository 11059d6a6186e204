/* The text form of addresses, both ways, and from what getsockname() says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
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
	{"tcp://127.0.0.1%lo:80", AF_INET, 80, "127.0.0.1%lo", "", NULL},
	{"udp://[::%lo]:80", AF_INET6, 80, "::%lo", "", NULL},
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
	{"tcp://127.0.0.1%:80", "numeric"},
	{"tcp://%lo:80", "numeric"},
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

static const struct {
	const char *text;
	struct address_options options;
	const char *canonical; /* the address without them */
	const char *printed;   /* NULL: as in the text */
} with_options[] = {
	{"tcp://:8000?backlog=511", {.backlog = 511}, "tcp://:8000", NULL},
	{"tcp://[0::1]:8000?backlog=65535&ipv6_only&defer_accept=60&fast_open=1",
	 {.backlog = 65535, .ipv6_only = true, .defer_accept = 60, .fast_open = 1}, "tcp://[::1]:8000", NULL},
	{"tcp://:0?fast_open=65535&defer_accept=1&ipv6_only&backlog=0001",
	 {.backlog = 1, .ipv6_only = true, .defer_accept = 1, .fast_open = 65535}, "tcp://:0",
	 "backlog=1&ipv6_only&defer_accept=1&fast_open=65535"},
	{"udp://[::]:53?ipv6_only", {.ipv6_only = true}, "udp://[::]:53", NULL},
	{"udp://:53?shared&ipv6_only", {.ipv6_only = true, .shared = true}, "udp://:53", "ipv6_only&shared"},
	{"tcp://:80?shared", {.shared = true}, "tcp://:80", NULL},
	{"unix:///run/x?mode=0660&owner=www-data:www-data", {.mode = 0660, .owner = "www-data:www-data"},
	 "unix:///run/x", NULL},
	{"unix:///run/x:y?owner=0:0&mode=777", {.mode = 0777, .owner = "0:0"}, "unix:///run/x:y",
	 "mode=0777&owner=0:0"},
	{"unix:///run/x?owner=a?b=c", {.owner = "a?b=c"}, "unix:///run/x", NULL},
	{"unix://@x?backlog=7", {.backlog = 7}, "unix://@x", NULL},
};

static const struct {
	const char *text;
	const char *why;
} bad_options[] = {
	{"tcp://:80?", "options of tcp"},
	{"tcp://:80?&backlog=1", "options of tcp"},
	{"tcp://:80?backlog=1&", "options of tcp"},
	{"tcp://:80?backlogs=1", "options of tcp"},
	{"tcp://:80?Backlog=1", "options of tcp"},
	{"tcp://:80?=1", "options of tcp"},
	{"tcp://:80?mode=0660", "options of tcp"},
	{"udp://:80?backlog=1", "options of udp"},
	{"unix:///x?ipv6_only", "options of unix"},
	{"unix:///x?defer_accept=1", "options of unix"},
	{"tcp://:80?backlog=1&backlog=1", "once"},
	{"tcp://:80?ipv6_only&ipv6_only", "once"},
	{"tcp://:80?backlog", "backlog must"},
	{"tcp://:80?backlog=", "backlog must"},
	{"tcp://:80?backlog=0", "backlog must"},
	{"tcp://:80?backlog=-1", "backlog must"},
	{"tcp://:80?backlog=1 ", "backlog must"},
	{"tcp://:80?backlog=65536", "backlog must"},
	{"tcp://:80?backlog=4294967297", "backlog must"},
	{"tcp://:80?defer_accept=61", "defer_accept must"},
	{"tcp://:80?defer_accept=0", "defer_accept must"},
	{"tcp://:80?fast_open=0x1", "fast_open must"},
	{"tcp://:80?ipv6_only=1", "no value"},
	{"tcp://:80?ipv6_only=", "no value"},
	{"tcp://1.2.3.4:80?ipv6_only", "needs an IPv6 host"},
	{"unix:///x?mode=0", "octal"},
	{"unix:///x?mode=0680", "octal"},
	{"unix:///x?mode=1777", "octal"},
	{"unix:///x?mode=rw", "octal"},
	{"unix:///x?owner", "owner must"},
	{"unix:///x?owner=", "owner must"},
	{"unix:///x?owner=:g", "owner must"},
	{"unix:///x?owner=u:", "owner must"},
	{"unix:///x?owner=a:b:c", "owner must"},
	{"unix:///x?owner=a b", "owner must"},
	{"unix://@x?mode=0660", "abstract"},
	{"unix://@x?owner=root", "abstract"},
	{"tcp:80?backlog=1", "tcp://"},
	{"tcp://?backlog=1", "port"},
	{"tcp://:x?backlog=1", "port"},
	{"unix://?mode=0660", "absolute"},
};

static void test_options(void **state)
{
	char text[ADDRESS_TEXT_MAX], options[ADDRESS_OPTIONS_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(with_options); i++) {
		const char *printed = with_options[i].printed;
		const char *why = NULL;
		struct address a, again;

		if (address_parse(with_options[i].text, &a, &why) != 0)
			fail_msg("%s: %s", with_options[i].text, why);
		assert_int_equal(a.options.backlog, with_options[i].options.backlog);
		assert_int_equal(a.options.ipv6_only, with_options[i].options.ipv6_only);
		assert_int_equal(a.options.shared, with_options[i].options.shared);
		assert_int_equal(a.options.defer_accept, with_options[i].options.defer_accept);
		assert_int_equal(a.options.fast_open, with_options[i].options.fast_open);
		assert_int_equal(a.options.mode, with_options[i].options.mode);
		assert_string_equal(a.options.owner, with_options[i].options.owner);
		assert_string_equal(address_format(&a, text, sizeof(text)), with_options[i].canonical);
		assert_ptr_equal(address_format_options(&a.options, options, sizeof(options)), options);
		assert_string_equal(options, printed ? printed : strchr(with_options[i].text, '?') + 1);
		again = a;
		assert_int_equal(address_parse_options(options, &again, &why), 0);
		assert_memory_equal(&again, &a, sizeof(a));
	}
}

static void test_bad_options(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad_options); i++) {
		const char *why = "";
		struct address a, before;

		memset(&a, 0x5a, sizeof(a));
		memcpy(&before, &a, sizeof(a));
		if (address_parse(bad_options[i].text, &a, &why) != -EINVAL)
			fail_msg("taken: %s", bad_options[i].text);
		if (!strstr(why, bad_options[i].why))
			fail_msg("%s: %s", bad_options[i].text, why);
		assert_memory_equal(&a, &before, sizeof(a));
	}
}

/* The longest of everything fits into what the header promises. */
static void test_longest_options(void **state)
{
	struct address_options o = {.backlog = 65535, .ipv6_only = true, .defer_accept = 60, .fast_open = 65535,
				    .mode = 0777};
	struct address a = {.kind = ADDRESS_UNIX, .family = AF_UNIX, .path = "/x"};
	char text[ADDRESS_OPTIONS_MAX], few[8], owner[ADDRESS_OWNER_MAX + 8] = "owner=";
	const char *why = "";

	(void)state;
	memset(o.owner, 'o', sizeof(o.owner) - 1);
	address_format_options(&o, text, sizeof(text));
	assert_true(strlen(text) < sizeof(text) - 1);
	assert_non_null(strstr(text, o.owner));
	address_format_options(&o, few, sizeof(few));
	assert_string_equal(few, "backlog");
	assert_string_equal(address_format_options(&a.options, text, sizeof(text)), "");
	memset(owner + 6, 'o', ADDRESS_OWNER_MAX - 1);
	assert_int_equal(address_parse_options(owner, &a, &why), 0);
	assert_string_equal(a.options.owner, owner + 6);
	owner[6 + ADDRESS_OWNER_MAX - 1] = 'o';
	assert_int_equal(address_parse_options(owner, &a, &why), -EINVAL);
	assert_non_null(strstr(why, "127 bytes"));
	assert_int_equal(address_parse_options("", &a, &why), -EINVAL);
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

/* A link-local one is nothing without its interface; of others the number means nothing. */
static void test_from_link_local(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80), .sin6_scope_id = if_nametoindex("lo")};

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "fe80::1", &in6.sin6_addr), 1);
	check_socket(&in6, sizeof(in6), "tcp://[fe80::1%lo]:80");
	in6.sin6_scope_id = 0x7fffffff;
	check_socket(&in6, sizeof(in6), "tcp://[fe80::1]:80");
	in6.sin6_scope_id = if_nametoindex("lo");
	assert_int_equal(inet_pton(AF_INET6, "ff02::1", &in6.sin6_addr), 1);
	check_socket(&in6, sizeof(in6), "tcp://[ff02::1]:80");
	in6.sin6_addr = in6addr_loopback;
	check_socket(&in6, sizeof(in6), "tcp://[::1]:80");
}

static void test_interface(void **state)
{
	struct address a = {.host = "0.0.0.0"};

	(void)state;
	address_set_interface(&a, 0);
	address_set_interface(&a, 0x7fffffff);
	assert_string_equal(a.host, "0.0.0.0");
	address_set_interface(&a, if_nametoindex("lo"));
	address_set_interface(&a, if_nametoindex("lo"));
	assert_string_equal(a.host, "0.0.0.0%lo");
}

static void test_multicast(void **state)
{
	static const char *const are[] = {"224.0.0.1", "239.255.255.255", "ff02::1", "ff02::1%lo", "224.0.0.1%lo"};
	static const char *const are_not[] = {"", "0.0.0.0", "127.0.0.1", "223.1.1.1%lo", "240.0.0.1", "::", "fe80::1%lo"};
	struct address a = {.host = ""};

	(void)state;
	for (size_t i = 0; i < COUNT(are); i++) {
		strcpy(a.host, are[i]);
		assert_true(address_is_multicast(&a));
	}
	for (size_t i = 0; i < COUNT(are_not); i++) {
		strcpy(a.host, are_not[i]);
		assert_false(address_is_multicast(&a));
	}
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
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_longest_options),
		cmocka_unit_test(test_path_limit),
		cmocka_unit_test(test_format_truncates),
		cmocka_unit_test(test_from_tcp),
		cmocka_unit_test(test_from_link_local),
		cmocka_unit_test(test_interface),
		cmocka_unit_test(test_multicast),
		cmocka_unit_test(test_from_unix),
		cmocka_unit_test(test_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
