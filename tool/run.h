/* run: what the files of the verb share.
 *
 *     run.c      control socket, beginning and end
 *     options.c  its options: which there are
 *     set.c      what their values mean
 *     signals.c  what signals do to it, and its duties as process 1
 *     events.c   what happens to workers, as lines, for the control socket and for `umbel why`
 */
#ifndef UMBEL_TOOL_RUN_H
#define UMBEL_TOOL_RUN_H

#include "output.h"
#include "tail.h"
#include "tool.h"

#include "admin/control.h"
#include "admin/report.h"
#include "admin/runtime.h"
#include "base/signals.h"
#include "umbel.h"

struct run {
	struct umbel *umbel;
	struct output *out, *err;
	struct runtime runtime;
	int lock; /* on NAME.lock; -1: no runtime directory */
	struct report report;
	struct history history;
	struct control *control; /* NULL: no runtime directory */
	uv_poll_t signals;
	int signalfd;
	uv_timer_t lame_duck;
	bool lame_duck_open;
	uint32_t lame_duck_ms;
	struct last_signal last_signal;
	char name[65];
	int count;
	const char *share;
	struct umbel_settings settings;
	char **env; /* --env, NULL-terminated */
	char **listen; /* --listen, the same */
	char **no_share; /* --no-share, the same */
	char *ready_command[4]; /* --ready-cmd, --ready-url */
	char own_path[PATH_MAX]; /* of this program */
	int stop_codes[257];
	int pass_fds[65]; /* --pass-fd, ended by -1 */
	bool group_is_set;
	char home[PATH_MAX + 8], user[72], logname[72]; /* HOME=..., USER=..., LOGNAME=... of --user */
	bool any_ran;
	bool any_started;
	bool stopping;
	int status;
	char last_error[512]; /* of a worker; why the app failed */
	struct tail last_tail; /* what it said last on stderr */
};

/* ---- options.c ---- */

int options_parse(struct run *r, int argc, char **argv); /* 0, or EXIT_USAGE after a complaint */
extern const char options_help[];

/* ---- signals.c ---- */

int signals_watch(struct run *r); /* 0 or -errno */
void signals_end(struct run *r);
void signals_reap(struct run *r); /* strangers, as process 1 */
void signals_stop_gently(struct run *r); /* after the lame duck, if there is one; again: at once */

/* ---- events.c ---- */

void run_watch_events(struct run *r);
void run_say(struct run *r, const char *text); /* one line */
void run_say_start(struct run *r);
void run_stop(struct run *r); /* the second time: at once */
void run_stop_once(struct run *r); /* a terminal that hangs up is told by several */
void run_fail(struct run *r, int status, const char *why); /* the first reason counts; stops the run */

#endif
