#include "share/busy.h"

#include "net/diag.h"
#include "net/holder.h"

#include <errno.h>
#include <stdio.h>
#include <uv.h>

enum { LEAST_MS = 1000 };

static void look(struct diag *d, const struct address *a, char *out, size_t size)
{
	struct holder h;

	out[0] = '\0';
	if (holder_find(d, a, &h) < 0)
		return;
	if (h.pid)
		snprintf(out, size, ": pid %d (%s) listens there", (int)h.pid, h.name);
	else
		snprintf(out, size, ": a process of user %u listens there", (unsigned)h.uid);
}

const char *busy_text(struct busy *b, struct diag *d, const struct address *a, int error)
{
	uint64_t now = uv_hrtime();

	if (error != -EADDRINUSE || a->kind != ADDRESS_TCP)
		return "";
	if (now < b->again_ns) /* a worker may ask as often as it likes */
		return b->port == a->port ? b->who : "";
	b->port = a->port;
	look(d, a, b->who, sizeof(b->who));
	b->again_ns = uv_hrtime() + (uint64_t)diag_pause_ms(uv_hrtime() - now, LEAST_MS) * 1000000;
	return b->who;
}
