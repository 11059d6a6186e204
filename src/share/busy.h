/* busy: whose port it is that a worker cannot have. */
#ifndef UMBEL_SHARE_BUSY_H
#define UMBEL_SHARE_BUSY_H

#include "base/address.h"

#include <stdint.h>

struct diag;

/* What was found last: all workers ask for the same within a moment, and each search is a walk through /proc. */
struct busy {
	uint64_t again_ns; /* not before: of uv_hrtime() */
	int port;
	char who[64];
};

/* What is to stand behind an error's text: ": pid 4711 (nginx) listens there"; "" when it is another error than
 * -EADDRINUSE, or nobody knows. Of another port than the last one's it is not looked up for a while. Valid until the next
 * call. */
const char *busy_text(struct busy *b, struct diag *d, const struct address *a, int error);

#endif
