/* inspect: which port the debugger of a Node worker listens on. Under --inspect all would want the same
 * one; as in Node's cluster each gets its own, counted up from what was asked for. Pure. */
#ifndef UMBEL_PROGRAM_INSPECT_H
#define UMBEL_PROGRAM_INSPECT_H

/* What `options` (Node's own, of argv or split from NODE_OPTIONS; NULL-terminated) say: the port to count
 * from, 9229 unless they name one; 0: they ask for no debugger, or for any free port. `ret_at`: the index
 * where --inspect-port=N belongs, behind the last of them. */
int inspect_port(char *const *options, int *ret_at);

/* As inspect_port(), of the words in NODE_OPTIONS (NULL: none). */
int inspect_port_of_text(const char *node_options);

/* The count-th port (1..) after base; after 65535 comes 1024. */
int inspect_port_after(int base, int count);

#endif
