/* kind: what a program is, so that it is started as the worker it understands. */
#ifndef UMBEL_PROGRAM_KIND_H
#define UMBEL_PROGRAM_KIND_H

#include <stdbool.h>

enum kind {
	KIND_AUTO,
	KIND_NODE,    /* Node's channel: NODE_CHANNEL_FD and NODE_UNIQUE_ID */
	KIND_CHANNEL, /* the same channel, announced as UMBEL_CHANNEL */
	KIND_INTERCEPT, /* KIND_CHANNEL, and its bind(2) and listen(2) are answered by us (intercept.h) */
	KIND_LISTEN_FDS, /* KIND_CHANNEL, and it finds its sockets as systemd gives them (sd_listen_fds(3)) */
	KIND_NONE,    /* no channel: a process that is only supervised */
};

/* name: as the user wrote it; path: the file it stands for; argv: NULL: nobody knows. Launchers (npm, npx, yarn, pnpm,
 * tsx) are Node scripts themselves, but their child is the worker: KIND_INTERCEPT. Node by its real name, unless its
 * words say that it would be no worker (node_words.h), or by a script's #! line: KIND_NODE. Everything else:
 * KIND_INTERCEPT. Why: a constant, "npm is a launcher: ..." */
enum kind kind_of_program(const char *name, const char *path, char *const *argv, const char **ret_why);

const char *kind_name(enum kind kind);              /* "node" */
int kind_from_name(const char *name, enum kind *ret); /* -EINVAL */

/* Whether it asks us before it listens. */
bool kind_can_be_held(enum kind kind);

/* Whether that file is Node, and not a script that Node runs. */
bool kind_is_node_itself(const char *path);

#endif
