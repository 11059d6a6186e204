/* tally: how often each address comes, and which one most. Exact for as many different addresses as it may
 * hold; of those that come first once these are there nothing is known. Pure, but for memory and one random
 * number (the hash cannot be guessed by who chooses addresses). */
#ifndef UMBEL_NET_TALLY_H
#define UMBEL_NET_TALLY_H

#include <stdint.h>

#define TALLY_ADDRESS 16 /* bytes: IPv6, or IPv4 mapped into it */

struct tally_entry {
	uint8_t address[TALLY_ADDRESS];
	uint32_t times; /* 0: nobody is here */
};

struct tally {
	struct tally_entry *entries; /* open addressing; at most half of them are used */
	unsigned slots;              /* a power of two; 0 before the first */
	unsigned used, most;
	uint64_t seed[2];
	struct tally_entry busiest; /* of equals the one that was so often first */
};

void tally_init(struct tally *t, unsigned most); /* different addresses; 40 to 80 bytes each */
void tally_finish(struct tally *t);

/* Once more. 0, also where nothing is counted because there are too many; or -ENOMEM. */
int tally_add(struct tally *t, const uint8_t address[TALLY_ADDRESS]);

#endif
