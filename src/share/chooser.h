/* chooser: the user's own policy (umbel_choose()): connections wait here until they have bytes to look at. */
#ifndef UMBEL_SHARE_CHOOSER_H
#define UMBEL_SHARE_CHOOSER_H

struct pending;
struct share;

/* Takes the connection: it comes back by share_put() when the chooser has spoken. -errno: it could not, and is still
 * the caller's. */
int chooser_park(struct share *s, struct pending *p);
void chooser_close_parked(struct share *s);

#endif
