#include "share/strangers.h"

#include "share/share.h"
#include "share/sharing.h"

#include <stdlib.h>

enum { MOST = 2 * GROUP_MOST };

struct stranger {
	LIST_ENTRY(stranger) link;
	struct group_member member;
};

/* Inodes of all who listen there. NULL: the kernel does not tell, or there is no memory. */
static uint32_t *list_members(const struct share *s, unsigned *ret_count)
{
	struct diag *d = s->sharing->diag;
	uint32_t *inodes = d ? malloc(MOST * sizeof(*inodes)) : NULL;
	int n = inodes ? diag_members(d, s->listener.fd, inodes, MOST) : -1;

	if (n < 0 || n > MOST) {
		free(inodes);
		return NULL;
	}
	*ret_count = (unsigned)n;
	return inodes;
}

static bool is_listed(const uint32_t *inodes, unsigned count, uint32_t inode)
{
	for (unsigned i = 0; i < count; i++)
		if (inodes[i] == inode)
			return true;
	return false;
}

static bool is_member(const struct group *g, uint32_t inode)
{
	for (unsigned i = 0; i < g->count; i++)
		if (g->members[i]->inode == inode)
			return true;
	return false;
}

static struct stranger *find_gone(const struct strangers *st, const uint32_t *inodes, unsigned count,
				  unsigned *ret_count)
{
	struct stranger *each, *found = NULL;

	*ret_count = 0;
	LIST_FOREACH (each, &st->list, link)
		if (!is_listed(inodes, count, each->member.inode)) {
			found = each;
			++*ret_count;
		}
	return found;
}

static unsigned count_new(const struct group *g, const uint32_t *inodes, unsigned count)
{
	unsigned found = 0;

	for (unsigned i = 0; i < count; i++)
		found += !is_member(g, inodes[i]);
	return found;
}

static void forget(struct strangers *st, struct stranger *each)
{
	LIST_REMOVE(each, link);
	st->count--;
	free(each);
}

/* False: there is no room for one. */
static bool append_new(struct share *s, const uint32_t *inodes, unsigned count)
{
	struct strangers *st = &s->sides.strangers;
	struct group *g = &s->sides.group;

	for (unsigned i = 0; i < count; i++) {
		struct stranger *new;

		if (is_member(g, inodes[i]))
			continue;
		new = calloc(1, sizeof(*new));
		if (!new || group_add(g, &new->member, -1) < 0) {
			free(new);
			return false;
		}
		new->member.inode = inodes[i];
		LIST_INSERT_HEAD(&st->list, new, link);
		st->count++;
	}
	return true;
}

static void tell(const struct share *s, unsigned before)
{
	unsigned now = s->sides.strangers.count;

	if (now > 0 && before == 0)
		events_add_note(s->sharing->events, 0, "steering", "%s: another program of this user listens there too, "
				"with SO_REUSEPORT; no connections are steered to it", s->address);
	else if (now == 0 && before > 0)
		events_add_note(s->sharing->events, 0, "steering", "%s: no other program listens there any more",
				s->address);
}

static enum strangers_word follow(struct share *s, const uint32_t *inodes, unsigned count)
{
	struct strangers *st = &s->sides.strangers;
	unsigned gone, new = count_new(&s->sides.group, inodes, count);
	struct stranger *left = find_gone(st, inodes, count, &gone);

	if (gone == 0 && new == 0)
		return STRANGERS_SAME;
	if (s->sides.group.changes != st->changes || gone > 1 || (gone == 1 && (new > 0 || st->unsure)))
		return STRANGERS_UNKNOWN;
	if (gone == 1) {
		group_remove(&s->sides.group, &left->member);
		forget(st, left);
	}
	st->unsure |= new > 1;
	return append_new(s, inodes, count) ? STRANGERS_FOLLOWED : STRANGERS_UNKNOWN;
}

enum strangers_word strangers_look(struct share *s)
{
	struct strangers *st = &s->sides.strangers;
	enum strangers_word word;
	unsigned count, before = st->count;
	uint32_t *inodes = s->sides.group.count > 0 ? list_members(s, &count) : NULL;

	if (!inodes)
		return STRANGERS_SAME;
	word = follow(s, inodes, count);
	free(inodes);
	st->changes = s->sides.group.changes;
	if (word == STRANGERS_FOLLOWED)
		tell(s, before);
	return word;
}

void strangers_restart(struct share *s)
{
	struct strangers *st = &s->sides.strangers;
	unsigned count, new, sides = 0, before = st->count;
	struct side *side;
	uint32_t *inodes;

	TAILQ_FOREACH (side, &s->sides.list, link)
		sides++;
	strangers_finish(s);
	inodes = list_members(s, &count);
	if (inodes) {
		new = count_new(&s->sides.group, inodes, count);
		st->unsure = new > 1;
		if (group_reserve(&s->sides.group, new + sides) == 0) /* ours are to have room in any case */
			append_new(s, inodes, count);
		free(inodes);
	}
	st->changes = s->sides.group.changes;
	tell(s, before);
}

void strangers_finish(struct share *s)
{
	struct strangers *st = &s->sides.strangers;
	struct stranger *each;

	while ((each = LIST_FIRST(&st->list)))
		forget(st, each);
}
