/* query: a worker's question for an address (Node's queryServer): whether it may have it, whose socket
 * answers it, and the reply. */
#ifndef UMBEL_LIFE_QUERY_H
#define UMBEL_LIFE_QUERY_H

#include "share/share.h"
#include "wire/node.h"

struct crew;

/* The reply goes out in any case. */
void query_answer(struct crew *crew, struct umbel_worker *w, const struct node_message *m);

/* It got the reply without the socket that belongs to it: an error instead. */
void query_nacked(struct umbel_worker *w, const struct share *s, int64_t seq);

/* "tcp://127.0.0.1:80", "descriptor 3": what it names, for messages and events. AF_UNSPEC: not known. */
void query_address_text(const struct node_query *q, int *ret_family, char *out, size_t size);

/* The share behind a worker's `listening`, or NULL: it bound that itself. */
struct share *query_find_listening(struct crew *crew, const struct umbel_worker *w, const struct node_query *q);

#endif
