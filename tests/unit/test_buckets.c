/* Which slot a client belongs to: shares, and how little moves. */
#include "net/buckets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

/* Every bucket has a home, the counts are true, and none has two more than another. */
static void check(const struct buckets *b, unsigned slots)
{
	unsigned counts[BUCKETS_SLOTS + 1] = {0}, some = 0;

	assert_int_equal(b->slots, slots);
	for (unsigned i = 0; i < BUCKETS; i++)
		counts[b->home[i]]++;
	assert_int_equal(counts[0], slots > 0 ? 0 : BUCKETS);
	for (unsigned slot = 1; slot <= BUCKETS_SLOTS; slot++) {
		assert_int_equal(b->counts[slot], counts[slot]);
		if (counts[slot] == 0)
			continue;
		some++;
		assert_in_range(counts[slot], BUCKETS / slots, (BUCKETS + slots - 1) / slots);
	}
	assert_int_equal(some, slots);
}

static unsigned differences(const uint16_t *one, const uint16_t *other)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BUCKETS; i++)
		n += one[i] != other[i];
	return n;
}

static void test_make(void **state)
{
	struct buckets b, before;

	buckets_make(&before, 0);
	check(&before, 0);
	for (unsigned slots = 1; slots <= BUCKETS_SLOTS; slots++) {
		buckets_make(&b, slots);
		check(&b, slots);
		assert_int_equal(b.counts[slots], BUCKETS / slots);
		assert_int_equal(differences(before.home, b.home), b.counts[slots]); /* only to the new one */
		before = b;
	}
	buckets_make(&b, BUCKETS_SLOTS + 1);
	assert_memory_equal(&before, &b, sizeof(b));
}

/* ---- who serves ---- */

static void serve_only(bool *serves, unsigned from, unsigned to)
{
	memset(serves, 0, (BUCKETS_SLOTS + 1) * sizeof(*serves));
	for (unsigned slot = from; slot <= to; slot++)
		serves[slot] = true;
}

/* Who serves is at home, the others' buckets are shared, evenly over all. */
static void check_assigned(const struct buckets *b, const bool *serves, const uint16_t *assigned)
{
	unsigned counts[BUCKETS_SLOTS + 1] = {0}, serving = 0;

	for (unsigned slot = 1; slot <= BUCKETS_SLOTS; slot++)
		serving += serves[slot];
	for (unsigned i = 0; i < BUCKETS; i++) {
		assert_true(assigned[i] > 0 && assigned[i] <= BUCKETS_SLOTS && serves[assigned[i]]);
		if (b->home[i] != 0 && serves[b->home[i]])
			assert_int_equal(assigned[i], b->home[i]);
		counts[assigned[i]]++;
	}
	for (unsigned slot = 1; slot <= BUCKETS_SLOTS; slot++)
		if (serves[slot])
			assert_in_range(counts[slot], BUCKETS / serving, (BUCKETS + serving - 1) / serving);
}

static void test_one_away(void **state)
{
	struct buckets b = {.slots = 0};
	uint16_t away[BUCKETS], again[BUCKETS], back[BUCKETS];
	bool serves[BUCKETS_SLOTS + 1];

	buckets_make(&b, 4);
	serve_only(serves, 1, 4);
	for (unsigned slot = 1; slot <= 4; slot++) {
		serves[slot] = false;
		buckets_assign(&b, serves, away);
		check_assigned(&b, serves, away);
		assert_true(differences(b.home, away) <= BUCKETS * 35 / 100);
		buckets_assign(&b, serves, again);
		assert_memory_equal(away, again, sizeof(away));
		serves[slot] = true;
		buckets_assign(&b, serves, back);
		assert_memory_equal(b.home, back, sizeof(back));
	}
}

/* What is away stays where it is while others come and go, for the greater part: slot 1 is away, then 2 too. Of
 * the rest of 1's, those that 2 had must move, a fifth of them. */
static void test_another_away(void **state)
{
	struct buckets b = {.slots = 0};
	uint16_t one[BUCKETS], two[BUCKETS];
	bool serves[BUCKETS_SLOTS + 1];
	unsigned moved = 0, stay = 0;

	buckets_make(&b, 6);
	serve_only(serves, 2, 6);
	buckets_assign(&b, serves, one);
	serve_only(serves, 3, 6);
	buckets_assign(&b, serves, two);
	check_assigned(&b, serves, two);
	for (unsigned i = 0; i < BUCKETS; i++) {
		stay += one[i] != 2;
		moved += one[i] != 2 && one[i] != two[i];
	}
	assert_true(stay > 0 && moved * 20 < stay); /* less than 5 % */
}

static void test_sets(void **state)
{
	struct buckets b = {.slots = 0};
	uint16_t assigned[BUCKETS];
	bool serves[BUCKETS_SLOTS + 1];

	buckets_make(&b, BUCKETS_SLOTS);
	for (unsigned few = 1; few <= BUCKETS_SLOTS; few = few * 3 + 1) {
		serve_only(serves, BUCKETS_SLOTS + 1 - few, BUCKETS_SLOTS);
		buckets_assign(&b, serves, assigned);
		check_assigned(&b, serves, assigned);
	}
	buckets_make(&b, 255); /* 255 slots: four of them have a bucket more */
	for (unsigned slot = 1; slot <= 255; slot += 50) {
		serve_only(serves, 1, 255);
		serves[slot] = false;
		buckets_assign(&b, serves, assigned);
		check_assigned(&b, serves, assigned);
	}
}

static void test_nobody_and_strangers(void **state)
{
	struct buckets b = {.slots = 0};
	uint16_t assigned[BUCKETS], nobody[BUCKETS] = {0};
	bool serves[BUCKETS_SLOTS + 1];

	serve_only(serves, 1, 0);
	serves[0] = true; /* is no slot */
	buckets_assign(&b, serves, assigned);
	assert_memory_equal(nobody, assigned, sizeof(assigned));
	buckets_make(&b, 2);
	buckets_assign(&b, serves, assigned);
	assert_memory_equal(nobody, assigned, sizeof(assigned));

	serve_only(serves, 2, 3); /* 3 has no home yet: it takes what 1 had */
	buckets_assign(&b, serves, assigned);
	check_assigned(&b, serves, assigned);
	memset(&b, 0, sizeof(b)); /* and nobody has one */
	serve_only(serves, 5, 9);
	serves[0] = true;
	buckets_assign(&b, serves, assigned);
	check_assigned(&b, serves, assigned);
}

/* ---- clients ---- */

static unsigned bucket_of(const char *address)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = 4711};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = 4711};

	if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
		return buckets_of_client((const struct sockaddr *)&v4);
	assert_int_equal(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
	return buckets_of_client((const struct sockaddr *)&v6);
}

static void test_clients(void **state)
{
	struct sockaddr_storage other = {.ss_family = AF_UNIX};

	assert_int_equal(bucket_of("0.0.0.1"), BUCKETS_FACTOR >> BUCKETS_SHIFT);
	assert_int_equal(bucket_of("::ffff:192.0.2.77"), bucket_of("192.0.2.77"));
	assert_int_equal(bucket_of("2001:db8:1:2::1"), bucket_of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
	assert_int_not_equal(bucket_of("2001:db8:1:2::1"), bucket_of("2001:db8:1:3::1"));
	assert_int_not_equal(bucket_of("2001:db8:1:2::1"), bucket_of("2001:db9:1:2::1"));
	assert_int_equal(bucket_of("::1"), 0);
	assert_int_equal(buckets_of_client((const struct sockaddr *)&other), 0);
	assert_int_equal(BUCKETS - 1, UINT32_MAX >> BUCKETS_SHIFT);
}

/* Neighbours, every 256th address, every 65536th, and so the prefixes of IPv6: four slots share them. */
static void test_spread(void **state)
{
	struct buckets b = {.slots = 0};

	buckets_make(&b, 4);
	for (unsigned shift = 0; shift <= 16; shift += 4) {
		unsigned v4[5] = {0}, v6[5] = {0};

		for (uint32_t i = 0; i < 256; i++) {
			struct sockaddr_in one = {.sin_family = AF_INET};
			struct sockaddr_in6 two = {.sin6_family = AF_INET6};
			uint32_t words[4] = {htonl(0x20010db8), htonl(i << shift), 1, 2};

			one.sin_addr.s_addr = htonl(0x0a000001 + (i << shift));
			memcpy(&two.sin6_addr, words, sizeof(words));
			v4[b.home[buckets_of_client((const struct sockaddr *)&one)]]++;
			v6[b.home[buckets_of_client((const struct sockaddr *)&two)]]++;
		}
		for (unsigned slot = 1; slot <= 4; slot++) {
			assert_in_range(v4[slot], 32, 96); /* 64 +- 50 % */
			assert_in_range(v6[slot], 32, 96);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_make),
	    	    	    	    	    	    	    cmocka_unit_test(test_one_away),
	    cmocka_unit_test(test_another_away),
	    cmocka_unit_test(test_sets),
	    cmocka_unit_test(test_nobody_and_strangers),
	    cmocka_unit_test(test_clients),
	    cmocka_unit_test(test_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
