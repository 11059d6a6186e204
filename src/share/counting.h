/* counting: how many connections a Node worker has in hand, and how long one takes it. Its preload counts those
 * that it is handed while a listener that it serves has policy least, or there is a max_connections, and says when
 * some are over. */
#ifndef UMBEL_SHARE_COUNTING_H
#define UMBEL_SHARE_COUNTING_H

struct receiver;

/* Asks it to count or to stop, when that is something new: it has a preload, it serves an address, a policy was
 * switched. */
void counting_update(struct receiver *r);

void counting_look(struct receiver *r);     /* what it has not answered has changed */
void counting_accepted(struct receiver *r); /* it has one more */

/* Its word: so many are over since it said so last, and it has `open`. What cannot be is not believed. */
void counting_done(struct receiver *r, unsigned finished, unsigned open);

/* Connections that it has finished, and how long it had any at all. */
struct least_sample counting_sum(const struct receiver *r);

#endif
