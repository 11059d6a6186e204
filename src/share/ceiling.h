/* ceiling: settings.max_connections: whether the app has as many connections open as it may. */
#ifndef UMBEL_SHARE_CEILING_H
#define UMBEL_SHARE_CEILING_H

#include <stdbool.h>
#include <stdint.h>

struct sharing;
struct receiver;

struct ceiling {
	uint64_t handed;  /* connections handed to workers that do not say what they have */
	uint64_t looked_ms, next_ms; /* of uv_now(): when the kernel was asked, and may be again */
	uint64_t handed_then;
	unsigned open_then;
};

#define CEILING_AGAIN_MS 10 /* after it was reached */

bool ceiling_is_reached(struct sharing *sharing);
void ceiling_on_handed(struct receiver *r); /* one connection more */

#endif
