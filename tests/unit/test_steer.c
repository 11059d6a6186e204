/* Steering programs, run by hand (bpf.h). What the kernel makes of them: test_steer_kernel.c. */
#include "bpf.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define TARGETS_MOST 256

static struct sock_filter code[STEER_MAX];

/* ---- packets ---- */

/* A header of 20 + 4 x words bytes; ports follow. */
static struct bpf_packet packet_v4(uint32_t source, unsigned words, uint32_t ports)
{
	struct bpf_packet p = {.length = 20 + 4 * words + 8};
	uint32_t to_wire[3] = {htonl(source), htonl(0x7f000001), htonl(ports)};

	p.bytes[0] = (uint8_t)(0x45 + words);
	p.bytes[9] = IPPROTO_UDP;
	memcpy(p.bytes + 12, to_wire, 8);
	memset(p.bytes + 20, 1, 4 * words); /* options: "no operation" */
	memcpy(p.bytes + 20 + 4 * words, to_wire + 2, 4);
	return p;
}

static struct bpf_packet packet_v6(const struct in6_addr *source, uint8_t next, uint32_t ports)
{
	struct bpf_packet p = {.length = 48};
	uint32_t to_wire = htonl(ports);

	p.bytes[0] = 0x60;
	p.bytes[6] = next;
	memcpy(p.bytes + 8, source, 16);
	memcpy(p.bytes + 24, &in6addr_loopback, 16);
	memcpy(p.bytes + 40, &to_wire, 4);
	return p;
}

static struct in6_addr address_v6(uint32_t prefix, uint32_t subnet, uint32_t host)
{
	uint32_t words[4] = {htonl(prefix), htonl(subnet), 0, htonl(host)};
	struct in6_addr address;

	memcpy(&address, words, sizeof(address));
	return address;
}

static uint32_t mix(uint32_t i) /* any numbers, the same each time */
{
	return (i + 1) * 2654435761u ^ (i * 40503u) << 7;
}

/* ---- programs ---- */

/* Its length, after a look at every jump: also at those that no packet here comes to. */
static unsigned checked(unsigned count)
{
	assert_in_range(count, 1, STEER_MAX);
	for (unsigned i = 0; i < count; i++) {
		if (BPF_CLASS(code[i].code) != BPF_JMP)
			continue;
		if (BPF_OP(code[i].code) == BPF_JA) {
			assert_in_range(code[i].k, 0, count - i - 2);
		} else {
			assert_in_range(code[i].jt, 0, count - i - 2);
			assert_in_range(code[i].jf, 0, count - i - 2);
		}
	}
	assert_int_equal(BPF_CLASS(code[count - 1].code), BPF_RET);
	return count;
}

static unsigned program(const struct steer_plan *plan)
{
	return checked(steer_program(plan, code));
}

/* Targets: a range from 5 on, or every second index, backwards. */
static void name_targets(uint16_t *targets, unsigned count, bool is_range)
{
	for (unsigned i = 0; i < count; i++)
		targets[i] = (uint16_t)(is_range ? 5 + i : 2 * (count - i) + 1);
}

static void test_to_first(void **state)
{
	uint16_t targets[2] = {300, 7};
	struct steer_plan plan = {.by = STEER_TO_FIRST, .targets = targets, .count = 2};
	struct bpf_packet nothing = {.length = 0};

	assert_int_equal(program(&plan), 1);
	assert_int_equal(bpf_run(code, 1, &nothing).value, 300);
	for (plan.by = STEER_RANDOM, plan.count = 1; plan.by <= STEER_FLOW; plan.by++) {
		assert_int_equal(program(&plan), 1); /* one target: no choice */
		assert_int_equal(bpf_run(code, 1, &nothing).value, 300);
	}
}

static void test_random(void **state)
{
	uint16_t targets[TARGETS_MOST];

	for (unsigned n = 1; n <= TARGETS_MOST; n++) {
		for (int is_range = 0; is_range < 2; is_range++) {
			struct steer_plan plan = {.by = STEER_RANDOM, .targets = targets, .count = n};
			unsigned count;

			name_targets(targets, n, is_range);
			count = program(&plan);
			assert_true(count <= (is_range ? 4 : 2 * n + 10));
			for (uint32_t i = 0; i < n; i++) { /* each gets its turn, also at the far end */
				struct bpf_packet p = {.random = i};
				uint32_t most = UINT32_MAX - i;

				assert_int_equal(bpf_run(code, count, &p).value, targets[i]);
				p.random = most;
				assert_int_equal(bpf_run(code, count, &p).value, targets[most % n]);
				assert_true(bpf_run(code, count, &p).steps <= 16);
			}
		}
	}
}

/* ---- flows ---- */

/* Which target, 0..n-1; fails when it is none. */
static unsigned target_of(unsigned count, const struct bpf_packet *p, const uint16_t *targets, unsigned n)
{
	uint32_t value = bpf_run(code, count, p).value;

	for (unsigned i = 0; i < n; i++)
		if (targets[i] == value)
			return i;
	fail_msg("%u is no target of %u", value, n);
	return 0;
}

enum client { PORTS_V4, OPTIONS_V4, HOSTS_V4, PORTS_V6, HOSTS_V6, CLIENTS };

static struct bpf_packet client_packet(enum client client, uint32_t i)
{
	struct in6_addr one = address_v6(0x20010db8, 1, 1), other = address_v6(0x20010db8, 1, i);

	switch (client) {
	case PORTS_V4: /* as Linux gives them: every second one */
		return packet_v4(0x7f000001, 0, (32768 + 2 * i) << 16 | 8000);
	case OPTIONS_V4:
		return packet_v4(0x7f000001, i % 11, (32768 + i) << 16 | 8000);
	case HOSTS_V4:
		return packet_v4(0x0a000000 + i, 0, 5353u << 16 | 5353);
	case PORTS_V6:
		return packet_v6(&one, IPPROTO_UDP, (32768 + 2 * i) << 16 | 8000);
	default:
		return packet_v6(&other, IPPROTO_UDP, 5353u << 16 | 5353);
	}
}

static void test_flow_is_even(void **state)
{
	static const unsigned sizes[] = {1, 2, 3, 4, 7, 16, 64, 255, 256};
	uint16_t targets[TARGETS_MOST];

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		unsigned n = sizes[s], expected = n > 64 ? 20 : 200;

		for (enum client client = 0; client < CLIENTS; client++) {
			struct steer_plan plan = {.by = STEER_FLOW, .targets = targets, .count = n};
			unsigned got[TARGETS_MOST] = {0}, count;

			name_targets(targets, n, s % 2);
			count = program(&plan);
			for (uint32_t i = 0; i < n * expected; i++) {
				struct bpf_packet p = client_packet(client, i);

				got[target_of(count, &p, targets, n)]++;
			}
			for (unsigned i = 0; i < n; i++) /* of 200 +- 50 %, of 20: not none */
				assert_in_range(got[i], n > 64 ? 1 : 100, n > 64 ? 60 : 300);
		}
	}
}

/* Nothing but addresses and ports counts; both ports and all of both addresses do. */
static void test_flow_is_a_flow(void **state)
{
	uint16_t targets[TARGETS_MOST];
	struct steer_plan plan = {.by = STEER_FLOW, .targets = targets, .count = TARGETS_MOST};
	unsigned count, different;

	name_targets(targets, TARGETS_MOST, true);
	count = program(&plan);
	for (int v6 = 0; v6 < 2; v6++) {
		struct in6_addr source = address_v6(0x20010db8, 2, 3);
		struct bpf_packet p = v6 ? packet_v6(&source, IPPROTO_UDP, 0x12345678)
					 : packet_v4(0xc0000201, 0, 0x12345678);
		unsigned first = target_of(count, &p, targets, TARGETS_MOST), from = v6 ? 8 : 12;

		for (unsigned i = 0; i < p.length; i++) {
			bool is_flow = i >= from && i < p.length - 4;

			if (i == 0 || (v6 && i == 6))
				continue; /* version, header length, next header */
			different = 0;
			for (unsigned bit = 0; bit < 8; bit++) {
				struct bpf_packet other = p;

				other.bytes[i] ^= (uint8_t)(1 << bit);
				different += target_of(count, &other, targets, TARGETS_MOST) != first;
			}
			if (is_flow)
				assert_in_range(different, 4, 8);
			else
				assert_int_equal(different, 0);
		}
	}
}

/* IPv6: what follows an extension header differs from datagram to datagram, so it does not count. */
static void test_flow_of_extension_headers(void **state)
{
	uint16_t targets[TARGETS_MOST];
	struct steer_plan plan = {.by = STEER_FLOW, .targets = targets, .count = TARGETS_MOST};
	struct in6_addr source = address_v6(0x20010db8, 2, 3);
	unsigned count, first = 0;

	name_targets(targets, TARGETS_MOST, true);
	count = program(&plan);
	for (uint32_t i = 0; i < 100; i++) {
		struct bpf_packet p = packet_v6(&source, IPPROTO_DSTOPTS, mix(i));
		unsigned target = target_of(count, &p, targets, TARGETS_MOST);

		if (i == 0)
			first = target;
		assert_int_equal(target, first);
	}
}

/* ---- clients ---- */

static void check_clients(unsigned count, const uint16_t *table, uint32_t clients)
{
	for (uint32_t i = 0; i < clients; i++) {
		struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(mix(i))};
		struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
		struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
		    .sin6_addr = address_v6(0x20010000 + i % 5, mix(i), i)};
		struct bpf_packet p = packet_v4(mix(i), i % 3, i);
		unsigned bucket = buckets_of_client((const struct sockaddr *)&v4);

		assert_int_equal(bpf_run(code, count, &p).value, table[bucket]);
		mapped.sin6_addr.s6_addr[10] = mapped.sin6_addr.s6_addr[11] = 0xff;
		memcpy(mapped.sin6_addr.s6_addr + 12, &v4.sin_addr, 4);
		assert_int_equal(buckets_of_client((const struct sockaddr *)&mapped), bucket);
		p = packet_v6(&v6.sin6_addr, IPPROTO_TCP, i);
		bucket = buckets_of_client((const struct sockaddr *)&v6);
		assert_int_equal(bpf_run(code, count, &p).value, table[bucket]);
		assert_true(bpf_run(code, count, &p).steps < 40);
	}
}

static void test_client_of_any_bucket(void **state)
{
	uint16_t table[BUCKETS];
	struct steer_plan plan = {.by = STEER_CLIENT, .buckets = table};
	bool seen[BUCKETS] = {false};
	unsigned count;

	for (unsigned i = 0; i < BUCKETS; i++) /* the longest program: no two neighbours alike */
		table[i] = (uint16_t)(i + 1);
	count = program(&plan);
	assert_true(count < 2100);
	check_clients(count, table, 3000);
	for (uint32_t i = 0; i < 20000; i++) {
		struct bpf_packet p = packet_v4(mix(i), 0, 0);

		seen[bpf_run(code, count, &p).value - 1] = true;
	}
	for (unsigned i = 0; i < BUCKETS; i++)
		assert_true(seen[i]);
}

/* Runs of equal buckets: 1 to 1024 of them, and all about where a conditional jump reaches no further. */
static void test_client_of_runs(void **state)
{
	uint16_t table[BUCKETS];
	struct steer_plan plan = {.by = STEER_CLIENT, .buckets = table};

	for (unsigned runs = 1; runs <= BUCKETS; runs += runs < 20 || (runs >= 254 && runs < 262) ? 1 : 39) {
		unsigned count;

		for (unsigned i = 0; i < BUCKETS; i++)
			table[i] = (uint16_t)(1 + i * runs / BUCKETS % 7);
		count = program(&plan);
		assert_true(count <= 2 * runs + 20);
		check_clients(count, table, 300);
	}
}

static void test_client_of_slots(void **state)
{
	struct buckets b;
	struct steer_plan plan = {.by = STEER_CLIENT, .buckets = b.home};

	for (unsigned slot = 1; slot <= BUCKETS_SLOTS; slot++) {
		buckets_make(&b, slot);
		if (slot <= 4 || slot % 63 == 0)
			check_clients(program(&plan), b.home, 300);
		if (slot <= 4)
			assert_in_range(program(&plan), 1, 40); /* a few long runs */
	}
}

/* ---- probes ---- */

enum { PROBE_PORT = 40000, PROBE_TARGET = 3000, ELSEWHERE = 5 };

static unsigned program_with_probes(unsigned probes)
{
	static const uint16_t door = ELSEWHERE;
	struct steer_plan plan = {.by = STEER_TO_FIRST, .targets = &door, .count = 1};
	struct steer_probe list[STEER_PROBES_MOST];
	unsigned prefix;

	for (unsigned i = 0; i < probes; i++)
		list[i] = (struct steer_probe){(uint16_t)(PROBE_PORT + 3 * i), (uint16_t)(PROBE_TARGET + i)};
	prefix = steer_prefix(list, probes, code);
	return checked(prefix + steer_program(&plan, code + prefix));
}

/* Its port, of that client: the probe's target, or ELSEWHERE. */
static void test_probes(void **state)
{
	const struct in6_addr loopback = in6addr_loopback, other = address_v6(0x20010db8, 0, 1);
	struct in6_addr almost[16];
	static const uint32_t no_loopback[] = {0x7e000001, 0x80000001, 0x0a00007f, 0};

	for (unsigned i = 0; i < 16; i++) {
		almost[i] = loopback;
		almost[i].s6_addr[i] ^= 2;
	}
	for (unsigned probes = 1; probes <= STEER_PROBES_MOST; probes += probes < 4 ? 1 : 84) {
		unsigned count = program_with_probes(probes);

		for (uint32_t port = PROBE_PORT - 2; port < PROBE_PORT + 3 * probes + 2; port++) {
			uint32_t i = port < PROBE_PORT ? probes : (port - PROBE_PORT) / 3, ports = port << 16 | 8000;
			bool is_one = i < probes && (port - PROBE_PORT) % 3 == 0;
			uint32_t wanted = is_one ? PROBE_TARGET + i : ELSEWHERE;
			struct bpf_packet p = packet_v4(0x7f000001 + (port & 3), port % 11, ports);

			assert_int_equal(bpf_run(code, count, &p).value, wanted);
			p = packet_v6(&loopback, IPPROTO_TCP, ports);
			assert_int_equal(bpf_run(code, count, &p).value, wanted);
			p = packet_v6(&loopback, IPPROTO_DSTOPTS, ports);
			assert_int_equal(bpf_run(code, count, &p).value, ELSEWHERE);
			p = packet_v6(&other, IPPROTO_TCP, ports);
			assert_int_equal(bpf_run(code, count, &p).value, ELSEWHERE);
			p = packet_v6(&almost[port % 16], IPPROTO_TCP, ports);
			assert_int_equal(bpf_run(code, count, &p).value, ELSEWHERE);
			p = packet_v4(no_loopback[port % 4], 0, ports);
			assert_int_equal(bpf_run(code, count, &p).value, ELSEWHERE);
			p = packet_v4(0x7f000001, 0, 8000u << 16 | port); /* it goes there, it does not come from it */
			assert_int_equal(bpf_run(code, count, &p).value, ELSEWHERE);
		}
	}
}

static void test_no_probes(void **state)
{
	assert_int_equal(steer_prefix(NULL, 0, code), 0);
}

/* In front of the longest program there is. */
static void test_probes_before_the_longest(void **state)
{
	uint16_t table[BUCKETS];
	struct steer_plan plan = {.by = STEER_CLIENT, .buckets = table};
	struct steer_probe list[STEER_PROBES_MOST];
	struct bpf_packet p = packet_v4(0x7f000001, 0, 9u << 16 | 8000);
	unsigned prefix, count;

	for (unsigned i = 0; i < BUCKETS; i++)
		table[i] = (uint16_t)(i + 1);
	for (unsigned i = 0; i < STEER_PROBES_MOST; i++)
		list[i] = (struct steer_probe){(uint16_t)(10 + i), 7};
	list[STEER_PROBES_MOST - 1].port = 9;
	prefix = steer_prefix(list, STEER_PROBES_MOST, code);
	count = checked(prefix + steer_program(&plan, code + prefix));
	assert_int_equal(bpf_run(code, count, &p).value, 7);
	for (uint32_t i = 0; i < 1000; i++) {
		struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(mix(i))};

		p = packet_v4(mix(i), 0, 9u << 16 | 8000);
		if (mix(i) >> 24 != 127)
			assert_int_equal(bpf_run(code, count, &p).value,
					 table[buckets_of_client((const struct sockaddr *)&from)]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_to_first),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_flow_is_even),
	    cmocka_unit_test(test_flow_is_a_flow),
	    cmocka_unit_test(test_flow_of_extension_headers),
	    cmocka_unit_test(test_client_of_any_bucket),
	    cmocka_unit_test(test_client_of_runs),
	    cmocka_unit_test(test_client_of_slots),
	    cmocka_unit_test(test_probes),
	    cmocka_unit_test(test_no_probes),
	    cmocka_unit_test(test_probes_before_the_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
