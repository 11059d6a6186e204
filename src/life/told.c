#include "life/told.h"

/* FNV-1a. Two that are the same by chance are said once less. */
static uint64_t hash(uint64_t seed, const char *text)
{
	for (; *text; text++)
		seed = (seed ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return seed;
}

static uint64_t hash_of(const char *what, const char *address)
{
	return hash(hash(UINT64_C(0xcbf29ce484222325), what) ^ ' ', address);
}

static unsigned find(const struct told *t, uint64_t what)
{
	unsigned i = 0;

	while (i < t->count && t->what[i] != what)
		i++;
	return i;
}

bool told_fails(struct told *t, const char *what, const char *address, int error)
{
	uint64_t key = hash_of(what, address);
	unsigned i = find(t, key);

	if (i == TOLD_MOST || (i < t->count && t->errors[i] == error))
		return false;
	t->what[i] = key;
	t->errors[i] = error;
	t->count += i == t->count;
	return true;
}

void told_works(struct told *t, const char *what, const char *address)
{
	unsigned i = find(t, hash_of(what, address));

	if (i == t->count)
		return;
	t->count--;
	t->what[i] = t->what[t->count];
	t->errors[i] = t->errors[t->count];
}
