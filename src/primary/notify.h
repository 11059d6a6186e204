/* notify: what programs say as they would to systemd, to the datagram socket in $NOTIFY_SOCKET (sd_notify(3)). Whose
 * word it is the kernel says, by the sender's pid: a worker's own, or a process's that a worker has started. */
#ifndef UMBEL_PRIMARY_NOTIFY_H
#define UMBEL_PRIMARY_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define NOTIFY_STATUS_MOST 256 /* bytes of a status that are kept */

struct cluster;

struct notify {
	int fd;
	uv_poll_t poll;
	char variable[32]; /* "NOTIFY_SOCKET=@0001f": of every worker's environment */
};

int notify_open(struct cluster *c); /* 0 or -errno */
void notify_close(struct cluster *c); /* its handle closes when the loop runs next */

/* ---- pure ---- */

struct notify_message {
	bool ready, stopping, watchdog;
	const char *status; /* into the text: at most NOTIFY_STATUS_MOST bytes, whole characters; NULL: not said */
	size_t status_length;
};

/* Lines "NAME=value"; the last one of a name counts, and what is unknown does not. -EINVAL: there is a NUL, and not at
 * its end. */
int notify_parse(const char *text, size_t length, struct notify_message *ret);

#endif
