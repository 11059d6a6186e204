#include "net/tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SLOTS_FIRST = 256 };

void tally_init(struct tally *t, unsigned most)
{
	*t = (struct tally){.most = most};
	/* Without a random number it counts as well; only who knows the hash could make it slow. */
	if (getrandom(t->seed, sizeof(t->seed), GRND_NONBLOCK) < 0)
		memset(t->seed, 0x5a, sizeof(t->seed));
}

void tally_finish(struct tally *t)
{
	free(t->entries);
	t->entries = NULL;
	t->slots = t->used = 0;
}

static unsigned hash(const struct tally *t, const uint8_t *address)
{
	uint64_t half[2];
	unsigned __int128 product;

	memcpy(half, address, sizeof(half));
	product = (unsigned __int128)(half[0] ^ t->seed[0]) * (half[1] ^ t->seed[1]);
	return (unsigned)((uint64_t)product ^ (uint64_t)(product >> 64));
}

/* Its entry, or the free one where it would be. There is always a free one. */
static struct tally_entry *find(const struct tally *t, const uint8_t *address)
{
	unsigned at = hash(t, address) & (t->slots - 1);

	while (t->entries[at].times && memcmp(t->entries[at].address, address, TALLY_ADDRESS) != 0)
		at = (at + 1) & (t->slots - 1);
	return &t->entries[at];
}

static int grow(struct tally *t)
{
	unsigned old_slots = t->slots;
	struct tally_entry *old = t->entries;
	unsigned slots = old_slots ? 2 * old_slots : SLOTS_FIRST;
	struct tally_entry *entries = calloc(slots, sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	t->entries = entries;
	t->slots = slots;
	for (unsigned i = 0; i < old_slots; i++)
		if (old[i].times)
			*find(t, old[i].address) = old[i];
	free(old);
	return 0;
}

int tally_add(struct tally *t, const uint8_t address[TALLY_ADDRESS])
{
	struct tally_entry *e;

	if (t->used < t->most && 2 * (t->used + 1) > t->slots && grow(t) < 0)
		return -ENOMEM;
	if (t->slots == 0)
		return 0;
	e = find(t, address);
	if (!e->times) {
		if (t->used == t->most)
			return 0;
		memcpy(e->address, address, TALLY_ADDRESS);
		t->used++;
	}
	e->times++;
	if (e->times > t->busiest.times)
		t->busiest = *e;
	return 0;
}
