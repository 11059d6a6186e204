/* leftover: processes of a worker that have left its group, and serve on with its sockets when it is dead: a program
 * that went into the background. Nobody would supervise them. */
#ifndef UMBEL_SHARE_LEFTOVER_H
#define UMBEL_SHARE_LEFTOVER_H

struct receiver;

/* It is dead, and its group with it. Ends them, and says so. How many they were. Takes the time of a walk through all
 * descriptors of the machine. */
unsigned leftover_end(const struct receiver *r);

#endif
