#include "net/buckets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* The slot that has most buckets; of equals the first. */
static unsigned richest(const struct buckets *b)
{
	unsigned most = 1;

	for (unsigned slot = 2; slot <= BUCKETS_SLOTS; slot++)
		if (b->counts[slot] > b->counts[most])
			most = slot;
	return most;
}

/* From the end: neighbours go together, and the steering program, which has a leaf for each run of equal
 * buckets, stays short. */
static unsigned last_of(const struct buckets *b, unsigned slot)
{
	unsigned bucket = BUCKETS - 1;

	while (b->home[bucket] != slot)
		bucket--;
	return bucket;
}

static void move(struct buckets *b, unsigned bucket, unsigned slot)
{
	b->counts[b->home[bucket]]--;
	b->counts[slot]++;
	b->home[bucket] = (uint16_t)slot;
}

/* From those who have most: as few as must. */
static void add(struct buckets *b, unsigned slot)
{
	if (b->slots == 0)
		b->counts[0] = BUCKETS; /* nobody's: only while there is no slot */
	b->slots++;
	while (b->counts[0] > 0)
		move(b, last_of(b, 0), slot);
	for (unsigned from = richest(b); b->counts[from] > b->counts[slot] + 1; from = richest(b))
		move(b, last_of(b, from), slot);
}

void buckets_make(struct buckets *b, unsigned slots)
{
	memset(b, 0, sizeof(*b));
	for (unsigned slot = 1; slot <= slots && slot <= BUCKETS_SLOTS; slot++)
		add(b, slot);
}

/* How much a bucket likes a slot: the highest bidder gets it, so who leaves or comes moves no bucket between
 * two others. */
static uint32_t bid(unsigned bucket, unsigned slot)
{
	uint32_t x = (uint32_t)(bucket << 16 | slot) * BUCKETS_FACTOR;

	x = (x ^ x >> 15) * BUCKETS_FACTOR;
	return x ^ x >> 16;
}

/* How many buckets each may have: `each`, and `extra` of them one more. */
struct shares {
	unsigned got[BUCKETS_SLOTS + 1];
	unsigned each, extra;
};

static unsigned highest_bidder(const struct shares *shares, const bool *serves, unsigned bucket)
{
	unsigned best = 0;

	for (unsigned slot = 1; slot <= BUCKETS_SLOTS; slot++) {
		if (!serves[slot] || shares->got[slot] >= shares->each + (shares->extra > 0))
			continue;
		if (best == 0 || bid(bucket, slot) > bid(bucket, best))
			best = slot;
	}
	return best;
}

static void give(struct shares *shares, unsigned slot)
{
	if (++shares->got[slot] > shares->each && shares->extra > 0)
		shares->extra--;
}

void buckets_assign(const struct buckets *b, const bool *serves, uint16_t ret[BUCKETS])
{
	struct shares shares = {{0}, 0, 0};
	unsigned serving = 0;

	memset(ret, 0, BUCKETS * sizeof(ret[0]));
	for (unsigned slot = 1; slot <= BUCKETS_SLOTS; slot++)
		serving += serves[slot];
	if (serving == 0)
		return;
	shares.each = BUCKETS / serving;
	shares.extra = BUCKETS % serving;
	for (unsigned bucket = 0; bucket < BUCKETS; bucket++) { /* this first: what is at home counts */
		unsigned home = b->home[bucket];

		if (home == 0 || !serves[home])
			continue;
		give(&shares, home);
		ret[bucket] = (uint16_t)home;
	}
	for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
		unsigned slot;

		if (ret[bucket] != 0)
			continue;
		slot = highest_bidder(&shares, serves, bucket);
		give(&shares, slot);
		ret[bucket] = (uint16_t)slot;
	}
}

static unsigned bucket_of(uint32_t word)
{
	return word * BUCKETS_FACTOR >> BUCKETS_SHIFT;
}

unsigned buckets_of_client(const struct sockaddr *client)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	uint32_t words[4];

	if (client->sa_family == AF_INET) {
		memcpy(&v4, client, sizeof(v4));
		return bucket_of(ntohl(v4.sin_addr.s_addr));
	}
	if (client->sa_family != AF_INET6)
		return 0;
	memcpy(&v6, client, sizeof(v6));
	memcpy(words, &v6.sin6_addr, sizeof(words));
	if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
		return bucket_of(ntohl(words[3]));
	return bucket_of(ntohl(words[0]) * BUCKETS_FACTOR ^ ntohl(words[1]));
}
