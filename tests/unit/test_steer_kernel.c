/* Steering programs in the kernel: real reuseport groups on loopback, real clients, and who got them. */
#include "bpf.h"

#include <arpa/inet.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIDES_MOST 256
#define ANSWER_MS 20000

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Index 0 is the door, the sides follow. */
struct group {
	int fds[1 + SIDES_MOST];
	unsigned count;
	int family, type;
	bool is_v6only;
	in_port_t port; /* as on the wire */
};

static struct sock_filter code[STEER_MAX];

/* ---- sockets ---- */

static socklen_t length_of(const union address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

static union address make_address(const char *host, in_port_t port)
{
	union address address;

	memset(&address, 0, sizeof(address));
	address.v4.sin_family = AF_INET;
	address.v4.sin_port = port; /* where IPv6 has it too */
	if (inet_pton(AF_INET, host, &address.v4.sin_addr) == 1)
		return address;
	address.v6.sin6_family = AF_INET6;
	assert_int_equal(inet_pton(AF_INET6, host, &address.v6.sin6_addr), 1);
	return address;
}

/* The address of the i-th client: 127.0.x.y. */
static union address client_v4(unsigned i)
{
	union address address = make_address("127.0.0.1", 0);

	address.v4.sin_addr.s_addr = htonl(0x7f000002 + i * 259);
	return address;
}

static bool can_bind(const union address *address)
{
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool can = fd >= 0 && bind(fd, &address->any, length_of(address)) == 0;

	if (fd >= 0)
		close(fd);
	return can;
}

static void skip_without_v6(int family)
{
	union address address = make_address("::1", 0);

	if (family == AF_INET6 && !can_bind(&address))
		skip();
}

static int open_member(struct group *group)
{
	const char *host = group->family == AF_INET ? "127.0.0.1" : group->is_v6only ? "::1" : "::";
	union address address = make_address(host, group->port);
	int fd = socket(group->family, group->type | SOCK_CLOEXEC, 0), one = 1, v6only = group->is_v6only;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	if (group->family == AF_INET6)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)), 0);
	assert_int_equal(bind(fd, &address.any, length_of(&address)), 0);
	if (group->type == SOCK_STREAM)
		assert_int_equal(listen(fd, SOMAXCONN), 0);
	return fd;
}

static void close_group(struct group *group)
{
	while (group->count > 0)
		close(group->fds[--group->count]);
}

/* A door and so many sides. */
static void open_group(struct group *group, unsigned sides)
{
	union address address;
	socklen_t length = sizeof(address);

	group->port = 0;
	for (group->count = 0; group->count <= sides; group->count++) {
		int fd = group->fds[group->count] = open_member(group);

		assert_int_equal(getsockname(fd, &address.any, &length), 0);
		group->port = address.v4.sin_port;
	}
}

static unsigned attach(const struct group *group, const struct steer_plan *plan)
{
	struct sock_fprog program = {.filter = code};

	program.len = (unsigned short)steer_program(plan, code);
	assert_int_equal(setsockopt(group->fds[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
				    sizeof(program)), 0);
	return program.len;
}

/* The one that has something to read, or to accept. */
static unsigned who_got(const struct group *group)
{
	struct pollfd polls[1 + SIDES_MOST];

	for (unsigned i = 0; i < group->count; i++)
		polls[i] = (struct pollfd){.fd = group->fds[i], .events = POLLIN};
	assert_int_equal(poll(polls, group->count, ANSWER_MS), 1);
	for (unsigned i = 0; i < group->count; i++)
		if (polls[i].revents != 0)
			return i;
	return group->count; /* nobody */
}

static int open_client(const union address *from, int type)
{
	int fd = socket(from->any.sa_family, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &from->any, length_of(from)), 0);
	return fd;
}

/* ---- tcp ---- */

/* Connects; which member it is. ret_bucket: of the address that accept() tells. */
static unsigned connect_from(const struct group *group, const union address *from, unsigned *ret_bucket)
{
	struct linger reset = {.l_onoff = 1};
	union address to = make_address(from->any.sa_family == AF_INET ? "127.0.0.1" : "::1", group->port), peer;
	socklen_t length = sizeof(peer);
	int client = open_client(from, SOCK_STREAM), accepted;
	unsigned member;

	assert_int_equal(connect(client, &to.any, length_of(&to)), 0);
	member = who_got(group);
	accepted = accept4(group->fds[member], &peer.any, &length, SOCK_CLOEXEC);
	assert_true(accepted >= 0);
	*ret_bucket = buckets_of_client(&peer.any);
	assert_int_equal(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close(client); /* no TIME_WAIT stays behind */
	close(accepted);
	return member;
}

static void check_door(const struct group *group, const union address *from)
{
	uint16_t to = 0; /* the first, then the last one */
	struct steer_plan plan = {.by = STEER_TO_FIRST, .targets = &to, .count = 1};
	unsigned bucket;

	for (; to < group->count; to = (uint16_t)(to + group->count - 1)) {
		attach(group, &plan);
		for (int i = 0; i < 4; i++)
			assert_int_equal(connect_from(group, from, &bucket), to);
	}
}

/* All sides, and all but the last one: never the door, and each of a few. */
static void check_random(const struct group *group, const union address *from, unsigned sides)
{
	uint16_t targets[SIDES_MOST];
	struct steer_plan plan = {.by = STEER_RANDOM, .targets = targets};

	for (unsigned i = 0; i < sides; i++)
		targets[i] = (uint16_t)(sides - i); /* backwards: the tree, not the range */
	for (plan.count = sides; plan.count > 0 && plan.count + 2 > sides; plan.count--) {
		unsigned got[1 + SIDES_MOST] = {0}, bucket;

		attach(group, &plan);
		for (unsigned i = 0; i < 100; i++)
			got[connect_from(group, from, &bucket)]++;
		for (unsigned side = 0; side <= sides; side++) {
			if (side < 1 + sides - plan.count)
				assert_int_equal(got[side], 0);
			else if (plan.count <= 2)
				assert_in_range(got[side], 10, 100); /* of 50: less in 1 of 10^17 runs */
		}
	}
}

static void check_client(const struct group *group, const union address *from, const uint16_t *table)
{
	unsigned expected = buckets_of_client(&from->any), bucket;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(connect_from(group, from, &bucket), table[expected]);
		assert_int_equal(bucket, expected);
	}
}

/* Slot n has side n; then one slot serves no more. */
static void check_clients(const struct group *group, unsigned sides)
{
	struct buckets b;
	bool serves[BUCKETS_SLOTS + 1] = {false};
	uint16_t table[BUCKETS];
	struct steer_plan plan = {.by = STEER_CLIENT, .buckets = table};
	union address v6 = make_address("::1", 0);

	buckets_make(&b, sides);
	for (unsigned slot = 1; slot <= sides; slot++)
		serves[slot] = true;
	for (int without = 0; without < 2; without++) {
		buckets_assign(&b, serves, table);
		attach(group, &plan);
		for (unsigned i = 0; i < 25 && !group->is_v6only; i++) {
			union address v4 = client_v4(i);

			check_client(group, &v4, table);
		}
		if (group->family == AF_INET6)
			check_client(group, &v6, table);
		serves[sides] = sides == 1;
	}
}

static void check_tcp(int family, bool is_v6only)
{
	static const unsigned sizes[] = {1, 2, 64, 256};
	union address from = is_v6only ? make_address("::1", 0) : make_address("127.0.0.1", 0);

	skip_without_v6(family);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct group group = {.family = family, .type = SOCK_STREAM, .is_v6only = is_v6only};

		open_group(&group, sizes[i]);
		check_door(&group, &from);
		check_random(&group, &from, sizes[i]);
		check_clients(&group, sizes[i]);
		close_group(&group);
	}
}

static void test_tcp_v4(void **state)
{
	check_tcp(AF_INET, false);
}

static void test_tcp_v6(void **state)
{
	check_tcp(AF_INET6, true);
}

static void test_tcp_dual(void **state)
{
	check_tcp(AF_INET6, false);
}

/* The program that is longest: no two neighbours alike. */
static void test_tcp_longest(void **state)
{
	struct group group = {.family = AF_INET, .type = SOCK_STREAM};
	uint16_t table[BUCKETS];
	struct steer_plan plan = {.by = STEER_CLIENT, .buckets = table};

	open_group(&group, SIDES_MOST);
	for (unsigned i = 0; i < BUCKETS; i++)
		table[i] = (uint16_t)(i * 5 % (SIDES_MOST + 1));
	assert_true(attach(&group, &plan) > 2 * BUCKETS);
	for (unsigned i = 0; i < 100; i++) {
		union address from = client_v4(i);

		check_client(&group, &from, table);
	}
	close_group(&group);
}

/* ---- probes ---- */

/* Who comes from their ports, and who from others; each with IP options too, of IPv4. */
static void check_probes(const struct group *group, const char *host, unsigned sides)
{
	static const uint16_t door = 0;
	struct steer_plan plan = {.by = STEER_TO_FIRST, .targets = &door, .count = 1};
	uint8_t options[8] = {1, 1, 1, 1, 1, 1, 1, 1}; /* "no operation" */
	struct sock_fprog program = {.filter = code};
	struct steer_probe probes[4];
	union address from[8], any = make_address(host, 0), to = make_address(host, group->port);
	socklen_t length = sizeof(from[0]);
	int clients[8];

	for (unsigned i = 0; i < 8; i++) {
		clients[i] = open_client(&any, SOCK_STREAM);
		assert_int_equal(getsockname(clients[i], &from[i].any, &length), 0);
		if (any.any.sa_family == AF_INET)
			assert_int_equal(setsockopt(clients[i], IPPROTO_IP, IP_OPTIONS, options, i / 2 * 4 % 12), 0);
		if (i % 2)
			probes[i / 2] = (struct steer_probe){ntohs(from[i].v4.sin_port), (uint16_t)(sides - i / 2)};
	}
	program.len = (unsigned short)steer_prefix(probes, 4, code);
	program.len = (unsigned short)(program.len + steer_program(&plan, code + program.len));
	assert_int_equal(setsockopt(group->fds[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
				    sizeof(program)), 0);
	for (unsigned i = 0; i < 8; i++) {
		unsigned wanted = i % 2 ? sides - i / 2 : door;
		int accepted;

		assert_int_equal(connect(clients[i], &to.any, length_of(&to)), 0);
		assert_int_equal(who_got(group), wanted);
		accepted = accept4(group->fds[wanted], NULL, NULL, SOCK_CLOEXEC);
		assert_true(accepted >= 0);
		close(accepted);
		close(clients[i]);
	}
}

static void test_probes(void **state)
{
	static const struct {
		int family;
		bool is_v6only;
		const char *host;
	} cases[] = {{AF_INET, false, "127.0.0.1"}, {AF_INET6, false, "127.0.0.1"}, {AF_INET6, false, "::1"},
		     {AF_INET6, true, "::1"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct group group = {.family = cases[i].family, .type = SOCK_STREAM, .is_v6only = cases[i].is_v6only};

		skip_without_v6(cases[i].family);
		open_group(&group, 4);
		check_probes(&group, cases[i].host, 4);
		close_group(&group);
	}
}

/* ---- udp ---- */

/* The member that the program chooses when it is run by hand. */
static unsigned flow_by_hand(unsigned length, const union address *from, const union address *to, unsigned options)
{
	struct bpf_packet p = {.length = 80};
	unsigned ports = 20 + options;

	if (from->any.sa_family == AF_INET) {
		p.bytes[0] = (uint8_t)(0x40 + ports / 4);
		memcpy(p.bytes + 12, &from->v4.sin_addr, 4);
		memcpy(p.bytes + 16, &to->v4.sin_addr, 4);
	} else {
		ports = 40;
		p.bytes[0] = 0x60;
		p.bytes[6] = IPPROTO_UDP;
		memcpy(p.bytes + 8, &from->v6.sin6_addr, 16);
		memcpy(p.bytes + 24, &to->v6.sin6_addr, 16);
	}
	memcpy(p.bytes + ports, &from->v4.sin_port, 2);
	memcpy(p.bytes + ports + 2, &to->v4.sin_port, 2);
	return bpf_run(code, length, &p).value;
}

/* A few datagrams of one flow, from a socket that is connected or not, with or without IP options. */
static void check_flow(const struct group *group, unsigned length, const union address *any, unsigned i)
{
	union address to = make_address(any->any.sa_family == AF_INET ? "127.0.0.1" : "::1", group->port), from;
	uint8_t options[8] = {1, 1, 1, 1, 1, 1, 1, 1}; /* "no operation" */
	unsigned bytes = any->any.sa_family == AF_INET ? i / 2 % 3 * 4 : 0, expected;
	socklen_t size = sizeof(from);
	int client = open_client(any, SOCK_DGRAM);
	char byte;

	if (bytes > 0)
		assert_int_equal(setsockopt(client, IPPROTO_IP, IP_OPTIONS, options, bytes), 0);
	assert_int_equal(getsockname(client, &from.any, &size), 0);
	if (i % 2 == 0)
		assert_int_equal(connect(client, &to.any, length_of(&to)), 0);
	expected = flow_by_hand(length, &from, &to, bytes);
	for (int n = 0; n < 3; n++) {
		if (i % 2 == 0)
			assert_int_equal(send(client, "x", 1, 0), 1);
		else
			assert_int_equal(sendto(client, "x", 1, 0, &to.any, length_of(&to)), 1);
		assert_int_equal(who_got(group), expected);
		assert_int_equal(recv(group->fds[expected], &byte, 1, 0), 1);
	}
	close(client);
}

static void check_udp(int family, bool is_v6only)
{
	static const unsigned sizes[] = {1, 2, 64, 256};
	uint16_t targets[SIDES_MOST];

	skip_without_v6(family);
	for (size_t s = 0; s < 2 * sizeof(sizes) / sizeof(sizes[0]); s++) {
		unsigned sides = sizes[s / 2], length;
		struct group group = {.family = family, .type = SOCK_DGRAM, .is_v6only = is_v6only};
		struct steer_plan plan = {.by = STEER_FLOW, .targets = targets, .count = sides};

		for (unsigned i = 0; i < sides; i++) /* a range, and backwards */
			targets[i] = (uint16_t)(s % 2 == 0 ? 1 + i : sides - i);
		open_group(&group, sides);
		length = attach(&group, &plan);
		for (unsigned i = 0; i < 24; i++) {
			union address v4 = client_v4(i), v6 = make_address("::1", 0);

			if (!is_v6only)
				check_flow(&group, length, &v4, i);
			if (family == AF_INET6)
				check_flow(&group, length, &v6, i);
		}
		close_group(&group);
	}
}

static void test_udp_v4(void **state)
{
	check_udp(AF_INET, false);
}

static void test_udp_v6(void **state)
{
	check_udp(AF_INET6, true);
}

static void test_udp_dual(void **state)
{
	check_udp(AF_INET6, false);
}

/* Sticky for udp: all ports of a client are one. */
static void test_udp_clients(void **state)
{
	struct group group = {.family = AF_INET, .type = SOCK_DGRAM};
	struct buckets b;
	struct steer_plan plan = {.by = STEER_CLIENT, .buckets = b.home};

	open_group(&group, 8);
	buckets_make(&b, 8);
	attach(&group, &plan);
	for (unsigned i = 0; i < 60; i++) {
		union address from = client_v4(i / 3), to = make_address("127.0.0.1", group.port);
		int client = open_client(&from, SOCK_DGRAM);
		unsigned expected = b.home[buckets_of_client(&from.any)];
		char byte;

		assert_int_equal(sendto(client, "x", 1, 0, &to.any, length_of(&to)), 1);
		assert_int_equal(who_got(&group), expected);
		assert_int_equal(recv(group.fds[expected], &byte, 1, 0), 1);
		close(client);
	}
	close_group(&group);
}

/* ---- clients of many IPv6 networks: in a network of our own, where that is allowed ---- */

static union address network_v6(unsigned i)
{
	union address address = make_address("2001:db8::1", 0);

	address.v6.sin6_addr.s6_addr[5] = (uint8_t)(i % 3);
	address.v6.sin6_addr.s6_addr[7] = (uint8_t)i;
	return address;
}

static bool make_network(unsigned addresses)
{
	struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &up), 0);
	for (unsigned i = 0, waited_ms = 0; i < addresses; i++) {
		union address address = network_v6(i);
		union {
			struct in6_ifreq v6;
			struct ifreq whole; /* as much as valgrind expects */
		} add;

		memset(&add, 0, sizeof(add));
		add.v6.ifr6_addr = address.v6.sin6_addr;
		add.v6.ifr6_prefixlen = 64;
		add.v6.ifr6_ifindex = 1; /* lo's, in a new network */
		assert_int_equal(ioctl(fd, SIOCSIFADDR, &add), 0);
		while (!can_bind(&address)) { /* tentative for a moment, even here */
			assert_true(waited_ms++ < ANSWER_MS);
			poll(NULL, 0, 1);
		}
	}
	close(fd);
	return true;
}

static void test_networks_v6(void **state)
{
	struct group group = {.family = AF_INET6, .type = SOCK_STREAM};
	struct buckets b;
	struct steer_plan plan = {.by = STEER_CLIENT, .buckets = b.home};
	bool seen[5] = {false};

	skip_without_v6(group.family);
	if (!make_network(40))
		skip();
	open_group(&group, 4);
	buckets_make(&b, 4);
	attach(&group, &plan);
	for (unsigned i = 0; i < 40; i++) {
		union address from = network_v6(i);

		check_client(&group, &from, b.home);
		seen[b.home[buckets_of_client(&from.any)]] = true;
	}
	for (unsigned slot = 1; slot <= 4; slot++)
		assert_true(seen[slot]);
	close_group(&group);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tcp_v4),
	    cmocka_unit_test(test_tcp_v6),
	    cmocka_unit_test(test_tcp_dual),
	    cmocka_unit_test(test_tcp_longest),
	    cmocka_unit_test(test_probes),
	    cmocka_unit_test(test_udp_v4),
	    cmocka_unit_test(test_udp_v6),
	    cmocka_unit_test(test_udp_dual),
	    cmocka_unit_test(test_udp_clients),
	    cmocka_unit_test(test_networks_v6), /* last: the process stays in that network */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
