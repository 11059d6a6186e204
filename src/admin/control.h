/* control: the app's control socket: one JSON line asks, lines answer; `events`, `reload` and
 * `reload_end` go on answering. Serves root and our own user, nobody else. The requests are listed in docs/PROTOCOL.md. */
#ifndef UMBEL_ADMIN_CONTROL_H
#define UMBEL_ADMIN_CONTROL_H

#include "admin/history.h"
#include "admin/report.h"
#include "admin/runtime.h"

#include <uv.h>

struct control;
typedef void control_stop(bool now, void *data);

/* Listens as NAME.sock in rt, and again when somebody removes it; rt must outlive it. `stop` is called
 * for the request of that name. 0 or -errno. */
int control_open(uv_loop_t *loop, const struct runtime *rt, struct report *report,
		 struct history *history, control_stop *stop, void *data, struct control **ret);
void control_close(struct control *c); /* NULL is fine */

bool control_is_followed(const struct control *c);             /* somebody asked for events; NULL: nobody */
void control_tell(struct control *c, struct json_t *event);    /* to those; takes the event */
void control_reload_over(struct control *c); /* UMBEL_RELOADED was told: a reload that waits may begin */

#endif
