/* rotation: whose turn it is. Pure: takes loads, returns a seat. */
#ifndef UMBEL_NET_ROTATION_H
#define UMBEL_NET_ROTATION_H

#define ROTATION_FULL (-1)

/* The load of a seat: connections it has not answered yet, or ROTATION_FULL. */
typedef int rotation_load(const void *seats, unsigned seat);

/* The first seat after `last` (in a circle of `count`) of those with the lowest load: nobody gets a
 * second unanswered connection before everybody has one. -1: all are full, or there are none. */
int rotation_choose(const void *seats, unsigned count, unsigned last, rotation_load *load);

#endif
