/* driver: a primary that does what it is told, for the contract tests: speaks as
 * tests/contract/driver.js, which is a primary of Node's own cluster module and says there what the
 * commands and events are. Its workers are Node programs. Left out: what only Node has
 * (`serialization`). Only here, in "setup":
 *     grace_ms, stop_signal, preload, pass_fds, max_message, max_queue    of settings
 * The last line of stdout, which is no event, is that of primary_report().
 *
 * main.c is the loop, commands.c what is obeyed, settings.c what "setup" and "fork" give libumbel,
 * events.c what is printed, sockets.c the descriptors beside libumbel's own. */
#ifndef TESTS_DRIVER_H
#define TESTS_DRIVER_H

#include <jansson.h>
#include <poll.h>
#include <umbel.h>

enum {
	MAX_WORKERS = 256,
	MAX_HANDS = 8,
	MAX_TAKEN = 32,
	MAX_PIPES = 32,
	MAX_SOCKETS = MAX_HANDS + MAX_TAKEN + MAX_PIPES,
	MAX_INPUT = 1 << 21,
};

/* A listener for "hand": whose the next connection is. */
struct hand {
	int fd; /* -1: none */
	uint32_t id;
	char *json;
};

/* A descriptor that came with a message. */
struct taken {
	int fd; /* -1: none */
	uint32_t id; /* who sent it */
	bool reads; /* it is read until its end; else it is kept */
	char text[1024];
	size_t len;
};

/* Of settings.stdio. */
struct pipe {
	int fd; /* -1: none; libumbel closes it */
	struct umbel_worker *w;
	int index;
};

struct driver {
	struct umbel *umbel;
	json_t *settings; /* of every "setup" until now; NULL: none came */
	struct hand hands[MAX_HANDS];
	struct taken taken[MAX_TAKEN];
	struct pipe pipes[MAX_PIPES];
	char take[16]; /* what becomes of descriptors that come */
	bool online[MAX_WORKERS]; /* by id */
	bool asked[MAX_WORKERS];  /* those that are gone */
	char input[MAX_INPUT]; /* of stdin, not obeyed yet */
	size_t input_len;
};

/* ---- commands.c ---- */

/* Reads stdin and obeys; false: over. */
bool commands_read(struct driver *d);

/* ---- settings.c ---- */

/* Later settings change the given ones only, as in Node. */
int settings_setup(struct driver *d, json_t *changes);
int settings_fork(struct driver *d, json_t *env);
int settings_signal(const char *name); /* "SIGTERM": 15; -1: none of that name */

/* ---- events.c ---- */

void events_watch(struct driver *d); /* from now on libumbel's events are printed */
void events_watch_empty(struct driver *d); /* the next UMBEL_EMPTY too */
void events_say(json_t *event); /* takes event */
void events_say_error(uint32_t id, int err);

/* ---- sockets.c ---- */

void sockets_init(struct driver *d);
void sockets_finish(struct driver *d);

/* Up to MAX_SOCKETS that are read; how many. */
nfds_t sockets_poll(const struct driver *d, struct pollfd *p);
void sockets_read(struct driver *d, int fd); /* one of those is readable */

void sockets_add_pipes(struct driver *d, struct umbel_worker *w);
void sockets_remove_pipes(struct driver *d, struct umbel_worker *w);
int sockets_write_pipe(struct umbel_worker *w, int index, const char *text);

int sockets_hand(struct driver *d, uint32_t id, int port, json_t *message);
int sockets_give(struct driver *d, struct umbel_worker *w, const char *kind, json_t *message);

/* The descriptor of a message becomes what d->take says. */
void sockets_take(struct driver *d, const struct umbel_event *e);
void sockets_release(struct driver *d); /* all that were taken */

#endif
