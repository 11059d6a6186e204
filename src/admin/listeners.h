/* listeners: what the addresses of an app look like now, and who gets their connections, as JSON. Only looks;
 * the shape is docs/PROTOCOL.md's. */
#ifndef UMBEL_ADMIN_LISTENERS_H
#define UMBEL_ADMIN_LISTENERS_H

#include <stdint.h>

struct json_t;
struct umbel;

struct json_t *listeners_report(const struct umbel *u); /* new reference, or NULL */

#endif
