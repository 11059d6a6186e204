/* run: the verb. One app in the foreground, from its beginning to its end. */
#include "private.h"
#include "run.h"

#include "admin/earlier.h"
#include "base/fd.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- control ---- */

static void on_output_gone(void *data)
{
	run_stop_once(data);
}

static void on_stop_request(bool now, void *data)
{
	struct run *r = data;

	if (!now) {
		if (!r->stopping)
			signals_stop_gently(r);
		return;
	}
	run_stop_once(r);
	umbel_stop(r->umbel);
}

static void on_earlier(unsigned count, void *data)
{
	const struct run *r = data;

	complain("%s: %u process%s of an earlier run %s ended: its primary was killed", r->name, count,
		 count == 1 ? "" : "es", count == 1 ? "is" : "are");
}

/* Before the name is seen to be ours: who is stopped here has left things as they were. */
static void end_earlier(struct run *r)
{
	earlier_end(r->lock, r->settings.grace_ms, on_earlier, r);
	earlier_remember(r->lock);
}

/* Without a directory that we may use it runs all the same, and nobody can ask it anything. */
static int claim_name(struct run *r)
{
	int err = runtime_open(&r->runtime, true);

	if (err) {
		complain("no control socket: %s: %s", r->runtime.path, strerror(-err));
		return 0;
	}
	r->lock = runtime_lock(&r->runtime, r->name);
	if (r->lock == -EWOULDBLOCK)
		return complain("%s is running already; give this one another --name", r->name);
	if (r->lock < 0)
		complain("no control socket: %s/%s.lock: %s", r->runtime.path, r->name,
			 strerror(-r->lock));
	else
		end_earlier(r);
	return 0;
}

static void open_control(struct run *r)
{
	int err;

	if (r->lock < 0)
		return;
	err = control_open(private_loop(r->umbel), &r->runtime, &r->report, &r->history,
			   on_stop_request, r, &r->control);
	if (err)
		complain("no control socket: %s/%s.sock: %s", r->runtime.path, r->name, strerror(-err));
}

/* ---- the run ---- */

/* "settings.max_connections: not with UMBEL_STICKY" in the command's words: "--max-connections: not with sticky".
 * They are shorter. */
static int complain_settings(const char *reason)
{
	char text[512], *from = text, *to = text;

	snprintf(text, sizeof(text), "%s", reason);
	while (*from) {
		bool is_field = strncmp(from, "settings.", 9) == 0;

		if (!is_field && strncmp(from, "UMBEL_", 6) != 0) {
			*to++ = *from++;
			continue;
		}
		from += is_field ? 9 : 6;
		if (is_field)
			to = mempcpy(to, "--", 2);
		for (; isalnum((unsigned char)*from) || *from == '_'; from++)
			*to++ = is_field && *from == '_' ? '-' : (char)tolower((unsigned char)*from);
	}
	*to = '\0';
	return complain("%s", text);
}

static int prepare(struct run *r, int argc, char **argv)
{
	int err = private_open_primary(argc, argv, &r->umbel);

	if (err)
		return complain("%s", umbel_reason(NULL));
	if (private_set_share(r->umbel, r->share) < 0)
		return complain("--share %s: it must be auto, node, channel, intercept, listen-fds or none", r->share);
	if (umbel_setup(r->umbel, &r->settings) < 0)
		return complain_settings(umbel_reason(r->umbel));
	if (private_check_program(r->umbel) < 0)
		return complain("%s", umbel_reason(r->umbel));
	err = claim_name(r);
	if (err)
		return err;
	report_init(&r->report, r->name, r->umbel);
	open_control(r);
	r->out = output_open(private_loop(r->umbel), 1, on_output_gone, r);
	r->err = output_open(private_loop(r->umbel), 2, on_output_gone, r);
	if (!r->out || !r->err || signals_watch(r) < 0)
		return complain("cannot watch signals and output: %s", strerror(errno));
	run_watch_events(r);
	return 0;
}

static void finish(struct run *r)
{
	control_close(r->control);
	if (r->lock >= 0)
		runtime_unlock(&r->runtime, r->name, &r->lock);
	runtime_close(&r->runtime);
	signals_end(r);
	if (r->out)
		output_close(r->out);
	if (r->err)
		output_close(r->err);
	umbel_close(r->umbel);
	report_finish(&r->report);
	history_finish(&r->history);
	free(r->env);
	free(r->listen);
	free(r->no_share);
}

static int run_app(struct run *r)
{
	int again;

	run_say_start(r);
	if (umbel_scale(r->umbel, r->count) < 0)
		run_fail(r, EXIT_FAILED, umbel_reason(r->umbel));
	do
		again = private_turn(r->umbel);
	while (again == 1);
	if (again < 0)
		run_fail(r, EXIT_FAILED, umbel_reason(r->umbel));
	run_say(r, "stopped");
	return r->status;
}

static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -1; /* the directory itself */

	if (!dir)
		return -1;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2; /* . and .. */
}

static int run_verb(int argc, char **argv)
{
	struct run r = {
	    .report.slots = TAILQ_HEAD_INITIALIZER(r.report.slots),
	    .runtime.dir = -1,
	    .lock = -1,
	    .signalfd = -1,
	    .share = "auto",
	    .pass_fds = {-1},
	    .count = umbel_parallelism(),
	    .settings = UMBEL_SETTINGS,
	};
	int before = open_descriptors(), status;

	r.settings.stdio[1] = r.settings.stdio[2] = UMBEL_STDIO_PIPE;
	status = options_parse(&r, argc, argv);
	status = status ? status : prepare(&r, argc, argv);
	status = status ? status : run_app(&r);
	finish(&r);
	uv_library_shutdown(); /* else its pipe for signals is open until the very end */
	if (getenv("UMBEL_DEBUG_FDS"))
		complain("descriptors: %d at start, %d at end", before, open_descriptors());
	return status;
}

const struct verb verb_run = {"run", run_verb, "run [options] [--] PROGRAM [ARGS]", options_help};
