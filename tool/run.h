/* run: what the two files of the verb share. run.c: options, signals, control, beginning and end.
 * events.c: what happens to workers, as lines and for the control socket. */
#ifndef UMBEL_TOOL_RUN_H
#define UMBEL_TOOL_RUN_H

#include "output.h"
#include "tool.h"

#include "admin/control.h"
#include "admin/report.h"
#include "admin/runtime.h"
#include "umbel.h"

struct run {
	struct umbel *umbel;
	struct output *out, *err;
	struct runtime runtime;
	int lock; /* on NAME.lock; -1: no runtime directory */
	struct report report;
	struct control *control; /* NULL: no runtime directory */
	uv_poll_t signals;
	int signalfd;
	char name[65];
	int count;
	const char *share;
	struct umbel_settings settings;
	char **env; /* --env, NULL-terminated */
	bool any_ran;
	bool stopping;
	int status;
	char last_error[512]; /* of a worker; why the app failed */
};

void run_watch_events(struct run *r);
void run_say(struct run *r, const char *text); /* one line */
void run_say_start(struct run *r);
void run_stop(struct run *r); /* the second time: at once */
void run_fail(struct run *r, int status, const char *why); /* the first reason counts; stops the run */

#endif
