/* notify: what programs say as they would to systemd, to the datagram socket in $NOTIFY_SOCKET (sd_notify(3)). Each
 * worker has one of its own: what comes there is its word, whoever has sent it and whether he still lives. */
#ifndef UMBEL_LIFE_NOTIFY_H
#define UMBEL_LIFE_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#define NOTIFY_STATUS_MOST 256 /* bytes of a status that are kept */

enum { NOTIFY_VARIABLE = 32 };

struct umbel_worker;

struct notify {
	int fd;    /* -1: none */
	uid_t uid; /* of the worker, as it is started */
	uv_poll_t poll;
};

/* Before the fork. Writes "NOTIFY_SOCKET=@0001f", for its environment. 0 or -errno. */
int notify_open(struct umbel_worker *w, char variable[NOTIFY_VARIABLE]);
bool notify_begin(struct umbel_worker *w); /* true: a handle is open, one of w->references */
void notify_read(struct umbel_worker *w);  /* some of what waits */
void notify_close(struct umbel_worker *w); /* its handle, if any, closes when the loop runs next */

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
