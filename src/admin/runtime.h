/* runtime: the directory where apps are found: $UMBEL_HOME, else /run/umbel for root, ~/.umbel for
 * others (home from the user database). NAME.lock decides who runs NAME, NAME.sock talks to it. */
#ifndef UMBEL_ADMIN_RUNTIME_H
#define UMBEL_ADMIN_RUNTIME_H

#include <limits.h>
#include <stdbool.h>

struct runtime {
	int dir; /* -1: closed */
	char path[PATH_MAX];
};

/* `create`: makes it when it is not there. Refuses one that is not ours or that others may write
 * (-EPERM). -ENOENT: not there. path is set in any case. */
int runtime_open(struct runtime *rt, bool create);
void runtime_close(struct runtime *rt);

/* A lock for the life of the descriptor. -EWOULDBLOCK: another holds it. */
int runtime_lock(const struct runtime *rt, const char *name);
void runtime_unlock(const struct runtime *rt, const char *name, int *lock); /* removes the file too */

int runtime_listen(const struct runtime *rt, const char *name);  /* replaces what is there; mode 0600 */
int runtime_connect(const struct runtime *rt, const char *name); /* -ENOENT: no such app */
void runtime_remove_socket(const struct runtime *rt, const char *name);
bool runtime_has_socket(const struct runtime *rt, const char *name);

/* Every NAME with a socket. */
typedef void runtime_visit(const char *name, void *data);
int runtime_each(const struct runtime *rt, runtime_visit *f, void *data);

#endif
