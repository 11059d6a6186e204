/* buckets: which slot a client belongs to under sticky. A client's address falls into a bucket; each bucket
 * has a home, a slot, and goes to another one only while its home does not serve. Pure. */
#ifndef UMBEL_NET_BUCKETS_H
#define UMBEL_NET_BUCKETS_H

#include <stdbool.h>
#include <stdint.h>

struct sockaddr;

#define BUCKETS 1024
#define BUCKETS_SLOTS 256

/* The hash: the upper bits of address x BUCKETS_FACTOR. The steering program computes it too. */
#define BUCKETS_FACTOR 0x9e3779b1u
#define BUCKETS_SHIFT 22 /* what is left of 32 bits are BUCKETS */

struct buckets {
	uint16_t home[BUCKETS]; /* a slot, 1..slots; 0: nobody's */
	unsigned counts[BUCKETS_SLOTS + 1]; /* buckets of each slot */
	unsigned slots;                     /* that have some */
};

/* Homes in slots 1..slots, at most BUCKETS_SLOTS. All have the same number of buckets, give or take one, and one slot
 * more moves only the buckets that it gets: what the others keep does not depend on what was before. */
void buckets_make(struct buckets *b, unsigned slots);

/* Who serves each bucket while only some slots do (serves[slot], BUCKETS_SLOTS + 1 of them): its home, else one
 * of the others, evenly, and always the same one for the same set. ret: slots; all 0 when nobody serves. */
void buckets_assign(const struct buckets *b, const bool *serves, uint16_t ret[BUCKETS]);

/* The bucket of a client, as STEER_CLIENT's program computes it: of IPv4 (also mapped into IPv6) the address, of
 * IPv6 its /64. 0 for other families. */
unsigned buckets_of_client(const struct sockaddr *client);

#endif
