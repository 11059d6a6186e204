/* closed: listening sockets that a program has closed, or shut down, and lives on. Of the first nobody tells (K35 of docs/KERNEL.md): what is
 * steered there would wait for ever. So who lets connections wait is asked now and then whether it still has it. */
#ifndef UMBEL_SHARE_CLOSED_H
#define UMBEL_SHARE_CLOSED_H

struct sharing;
struct receiver;

void closed_open(struct sharing *sharing);
void closed_close(struct sharing *sharing);
void closed_watch(struct sharing *sharing); /* a program has bound a socket */
void closed_sweep(struct receiver *r); /* all that it has closed is given back now */

#endif
