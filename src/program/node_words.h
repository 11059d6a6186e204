/* node_words: what the words of Node's command line say of the worker that it would be. Pure. */
#ifndef UMBEL_PROGRAM_NODE_WORDS_H
#define UMBEL_PROGRAM_NODE_WORDS_H

#include <stdbool.h>

bool node_words_has_value(const char *option); /* its value is the next word */

/* options: from the second word of its argv on; NULL-terminated. Why Node's cluster would make no worker of it: a
 * constant, "node --watch is a launcher: ..."; NULL: it would. It makes one only where process.argv[1] is, a script's
 * name mostly, and not of another process that this one starts. */
const char *node_words_no_worker(char *const *options);

#endif
