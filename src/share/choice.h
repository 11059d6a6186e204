/* choice: which worker gets a connection that the primary hands over, by the share's policy. */
#ifndef UMBEL_SHARE_CHOICE_H
#define UMBEL_SHARE_CHOICE_H

struct pending;
struct refusals;
struct share;

/* The seat whose turn it is, of those that can take one and have not refused this one; -1: nobody can;
 * CHOICE_LATER: it waits less for one that cannot just now. Then ask again in CHOICE_AGAIN_MS at the latest: that
 * one may have stopped. */
#define CHOICE_LATER (-2)
#define CHOICE_AGAIN_MS 20
int choice_any(struct share *s, const struct refusals *refused);

/* Once the connection is known: the one that the chooser or its client's address asks for, if that can take it;
 * else `otherwise`. */
int choice_for(struct share *s, const struct pending *p, int otherwise);

#endif
