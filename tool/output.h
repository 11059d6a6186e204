/* output: the foreground's stdout and stderr. Lines go out whole and without ever blocking the
 * primary; who does not read makes the workers wait, not us. */
#ifndef UMBEL_TOOL_OUTPUT_H
#define UMBEL_TOOL_OUTPUT_H

#include "tail.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct output;
typedef void output_gone(void *data); /* the reader is gone: nothing more can be written */

/* fd 1 or 2 of this process. gone is called once, from the loop. NULL: no memory. */
struct output *output_open(uv_loop_t *loop, int fd, output_gone *gone, void *data);
void output_close(struct output *o); /* writes what is left, for a second at the most */

void output_write(struct output *o, const char *text, size_t len);
void output_printf(struct output *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool output_is_terminal(const struct output *o);

/* A worker's stdout or stderr, fd taken: its whole lines go to `to`, `prefix` (copied, at most 31 bytes) in front, and to
 * `tail` (NULL: none). It ends by itself with its writers, or with pipe_close(). */
struct worker_pipe;
struct worker_pipe *pipe_open(struct output *to, int fd, const char *prefix, struct tail *tail,
			      struct worker_pipe **owner);
void pipe_rename(struct worker_pipe *p, const char *prefix); /* of the lines to come; NULL is fine */
void pipe_drain(struct worker_pipe *p); /* what is there now, for instance before its death is told */
void pipe_close(struct worker_pipe *p); /* NULL is fine */

#endif
