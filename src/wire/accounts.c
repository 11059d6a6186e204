#include "wire/accounts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FIRST_LOOK = 64 }; /* sockets, or servers, until those that are closed are forgotten */

struct socket_seen {
	int fd;
	dev_t device;
	ino_t inode;
};

struct account {
	TAILQ_ENTRY(account) link;
	char *key;
	bool awaited;
	struct socket_seen *sockets;
	unsigned count, size;
};

void accounts_init(struct accounts *a)
{
	TAILQ_INIT(&a->list);
	a->count = 0;
	a->most = FIRST_LOOK;
}

static void account_free(struct accounts *a, struct account *account)
{
	TAILQ_REMOVE(&a->list, account, link);
	a->count--;
	free(account->key);
	free(account->sockets);
	free(account);
}

void accounts_finish(struct accounts *a)
{
	struct account *account;

	while ((account = TAILQ_FIRST(&a->list)))
		account_free(a, account);
}

static struct account *find(struct accounts *a, const char *key)
{
	struct account *account;

	TAILQ_FOREACH (account, &a->list, link)
		if (strcmp(account->key, key) == 0)
			return account;
	return NULL;
}

static bool is_open(const struct socket_seen *s)
{
	struct stat st;

	return fstat(s->fd, &st) == 0 && st.st_dev == s->device && st.st_ino == s->inode;
}

static unsigned forget_closed(struct account *account)
{
	unsigned open = 0;

	for (unsigned i = 0; i < account->count; i++)
		if (is_open(&account->sockets[i]))
			account->sockets[open++] = account->sockets[i];
	account->count = open;
	return open;
}

/* Servers come and go, and nobody says which. */
static void forget_servers(struct accounts *a)
{
	struct account *account, *next;

	if (a->count < a->most)
		return;
	for (account = TAILQ_FIRST(&a->list); account; account = next) {
		next = TAILQ_NEXT(account, link);
		if (!account->awaited && forget_closed(account) == 0)
			account_free(a, account);
	}
	a->most = a->count < FIRST_LOOK / 2 ? FIRST_LOOK : 2 * a->count;
}

static struct account *find_or_add(struct accounts *a, const char *key)
{
	struct account *account = find(a, key);

	if (account)
		return account;
	forget_servers(a);
	account = calloc(1, sizeof(*account));
	if (!account)
		return NULL;
	account->key = strdup(key);
	if (!account->key) {
		free(account);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&a->list, account, link);
	a->count++;
	return account;
}

static bool make_room(struct account *account)
{
	struct socket_seen *more;
	unsigned size;

	if (account->count < account->size)
		return true;
	/* Twice what is open: each socket is looked at a few times, however many there are. */
	size = 2 * forget_closed(account);
	size = size < FIRST_LOOK ? FIRST_LOOK : size;
	more = reallocarray(account->sockets, size, sizeof(*more));
	if (!more)
		return account->count < account->size;
	account->sockets = more;
	account->size = size;
	return true;
}

void accounts_add(struct accounts *a, const char *key, int fd)
{
	struct account *account = find_or_add(a, key);
	struct stat st;

	if (account && fstat(fd, &st) == 0 && make_room(account))
		account->sockets[account->count++] = (struct socket_seen){fd, st.st_dev, st.st_ino};
}

unsigned accounts_count(struct accounts *a, const char *key)
{
	struct account *account = find(a, key);

	return account ? forget_closed(account) : 0;
}

int accounts_await(struct accounts *a, const char *key)
{
	struct account *account = find_or_add(a, key);

	if (!account)
		return -ENOMEM;
	account->awaited = true;
	return 0;
}

char *accounts_pop_closed(struct accounts *a)
{
	struct account *account;
	char *key;

	TAILQ_FOREACH (account, &a->list, link)
		if (account->awaited && forget_closed(account) == 0) {
			key = account->key;
			account->key = NULL;
			account_free(a, account);
			return key;
		}
	return NULL;
}

bool accounts_is_awaited(const struct accounts *a)
{
	const struct account *account;

	TAILQ_FOREACH (account, &a->list, link)
		if (account->awaited)
			return true;
	return false;
}
