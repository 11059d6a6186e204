/* accounts: sockets that came with messages from a Node process's servers. Node's server counts them
 * among its connections until we say that they are closed: net.Server#getConnections() asks how many are
 * open (NODE_SOCKET_GET_COUNT), close() waits until none is (NODE_SOCKET_NOTIFY_CLOSE). The program may
 * close its sockets any way it likes, so they are not followed but looked at: one that is still the same
 * at its descriptor is open. (A duplicate of it is not seen.) */
#ifndef UMBEL_WIRE_ACCOUNTS_H
#define UMBEL_WIRE_ACCOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#define ACCOUNTS_LOOK_MS 100 /* how often accounts_pop_closed() is to be called while one is awaited */

struct account;
TAILQ_HEAD(account_list, account);

struct accounts {
	struct account_list list; /* by server */
	unsigned count, most;     /* servers, and when it is looked which are over */
};

void accounts_init(struct accounts *a);
void accounts_finish(struct accounts *a); /* no socket is closed */

/* A socket that came with `key`. Without memory it is not counted. */
void accounts_add(struct accounts *a, const char *key, int fd);

unsigned accounts_count(struct accounts *a, const char *key); /* those that are open */

/* The end of the last one is to be told. 0 or -ENOMEM. */
int accounts_await(struct accounts *a, const char *key);

/* An awaited server whose last socket is closed: its key, malloc()ed; NULL: none (now). */
char *accounts_pop_closed(struct accounts *a);

bool accounts_is_awaited(const struct accounts *a);

#endif
