/* client: asks running apps over their control sockets. Blocking: the verbs have nothing else to do. */
#ifndef UMBEL_TOOL_CLIENT_H
#define UMBEL_TOOL_CLIENT_H

#include "admin/runtime.h"
#include "wire/channel.h"

struct json_t;

/* The runtime directory; complains and returns an exit status when it cannot be used. When it is not
 * there no app runs: rt->dir is then -1 and the status 0. */
int client_runtime(struct runtime *rt);

/* Asks NAME. 0, the answer (a new reference), whose "ok" is true, and the channel, to be closed by the
 * caller; else it has complained, and the exit status: EXIT_NO_APP, EXIT_FAILED. */
int client_ask(const struct runtime *rt, const char *name, const char *request, struct channel *ret_channel,
	       struct json_t **ret);

/* The same, with the runtime directory found by itself. */
int client_ask_app(const char *name, const char *request, struct channel *ret_channel, struct json_t **ret);

/* The next line, however long it takes: a new reference, or NULL: the app has ended. */
struct json_t *client_next(struct channel *c);

void client_wait_end(struct channel *c); /* until the other end is closed */

#endif
