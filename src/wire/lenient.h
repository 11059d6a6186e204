/* lenient: what Node reads and jansson does not, in the words of a program: half a surrogate pair, and integers
 * of more than 64 bits. Pure. */
#ifndef UMBEL_WIRE_LENIENT_H
#define UMBEL_WIRE_LENIENT_H

#include <jansson.h>
#include <stddef.h>

/* A tree, as json_loadb() with NULs allowed; integers are reals if they have to be. NULL, with error: it is not
 * JSON; or there is no memory. */
json_t *lenient_load(const char *text, size_t len, json_error_t *error);

#endif
