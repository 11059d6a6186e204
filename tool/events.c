/* events: what happens to the workers of a run, told as lines and to the control socket's clients. */
#include "private.h"
#include "run.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What hangs on a worker while it lives. */
struct pipes {
	struct worker_pipe *out, *err;
};

/* ---- lines ---- */

struct colours {
	const char *name, *good, *bad, *off;
};

static struct colours colours(const struct output *o)
{
	if (output_is_terminal(o) && !getenv("NO_COLOR"))
		return (struct colours){"\033[36m", "\033[32m", "\033[31m", "\033[0m"};
	return (struct colours){"", "", "", ""};
}

/* What a worker wrote must not steer our terminal. */
static char *clean(char *text)
{
	for (char *p = text; *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
	return text;
}

void run_say(struct run *r, const char *text)
{
	struct colours c = colours(r->out);

	output_printf(r->out, "%sumbel:%s %s\n", c.name, c.off, text);
}

static void say_of(struct run *r, const struct umbel_worker *w, bool good, const char *text)
{
	struct colours c = colours(r->out);

	output_printf(r->out, "%sumbel:%s slot %d pid %d %s%s%s\n", c.name, c.off, umbel_worker_slot(w),
		      (int)umbel_worker_pid(w), good ? c.good : c.bad, text, c.off);
}

static void join_command(const struct run *r, char *text, size_t size)
{
	size_t len = 0;

	for (char *const *a = r->settings.argv; *a && len < size; a++)
		len += (size_t)snprintf(text + len, size - len, "%s%s", len ? " " : "", *a);
}

void run_say_start(struct run *r)
{
	char command[1024], text[1200];

	join_command(r, command, sizeof(command));
	snprintf(text, sizeof(text), "%s: %d worker%s: %s", r->name, r->count, r->count == 1 ? "" : "s",
		 command);
	run_say(r, text);
}

/* ---- events ---- */

static void on_fork(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;
	struct pipes *p = calloc(1, sizeof(*p));
	char prefix[32];

	snprintf(prefix, sizeof(prefix), "[%d] ", umbel_worker_slot(e->worker));
	if (p) {
		p->out = pipe_open(r->out, private_take_stdio(e->worker, 1), prefix, &p->out);
		p->err = pipe_open(r->err, private_take_stdio(e->worker, 2), prefix, &p->err);
	}
	*umbel_worker_data(e->worker) = p;
	say_of(r, e->worker, true, "started");
	control_tell(r->control, e);
}

static void on_online(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;

	r->any_ran = true;
	control_tell(r->control, e);
}

/* Its message and other things that are for `events` only. */
static void on_other(struct umbel *u, const struct umbel_event *e, void *data)
{
	control_tell(((struct run *)data)->control, e);
}

static void on_listening(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;
	char text[5000];

	snprintf(text, sizeof(text), "listens on %s", e->listening.address);
	say_of(r, e->worker, true, clean(text));
	control_tell(r->control, e);
}

static void drain_pipes(const struct umbel_worker *w)
{
	struct pipes *p = *umbel_worker_data((struct umbel_worker *)w);

	if (p) {
		pipe_drain(p->out);
		pipe_drain(p->err);
	}
}

static void on_exit_event(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;
	double seconds = (double)e->exit.up_ms / 1000;
	bool left = e->exit.asked && (e->exit.code == 0 || e->exit.signal == SIGTERM);
	char text[128];

	r->any_ran = true;
	drain_pipes(e->worker); /* its last words before its end */
	if (e->exit.code < 0 && e->exit.signal < 0)
		snprintf(text, sizeof(text), "ended after %.1f s", seconds);
	else if (left)
		snprintf(text, sizeof(text), "left after %.1f s", seconds);
	else if (e->exit.signal >= 0)
		snprintf(text, sizeof(text), "killed by SIG%s after %.1f s%s",
			 sigabbrev_np(e->exit.signal) ? sigabbrev_np(e->exit.signal) : "?", seconds,
			 e->exit.core ? " (core dumped)" : "");
	else
		snprintf(text, sizeof(text), "exited with %d after %.1f s", e->exit.code, seconds);
	if (!left)
		snprintf(r->last_error, sizeof(r->last_error), "the last one %s", text);
	say_of(r, e->worker, left, text);
	report_note_exit(&r->report, umbel_worker_slot(e->worker), text);
	control_tell(r->control, e);
}

static void on_gone(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct pipes *p = *umbel_worker_data(e->worker);
	struct run *r = data;

	drain_pipes(e->worker);
	if (p) {
		pipe_close(p->out);
		pipe_close(p->err);
	}
	free(p);
	control_tell(r->control, e);
}

static int count_workers(const struct umbel *u)
{
	const struct umbel_worker *w = NULL;
	int count = 0;

	while ((w = umbel_next(u, w ? umbel_worker_id(w) : 0)))
		count++;
	return count;
}

/* The second time: at once. */
void run_stop(struct run *r)
{
	bool first = !r->stopping;
	int count = count_workers(r->umbel);
	char text[64];

	r->stopping = r->report.stopping = true; /* this first: saying it may find the reader gone */
	umbel_stop(r->umbel);
	if (!first)
		return;
	snprintf(text, sizeof(text), "stopping %d worker%s", count, count == 1 ? "" : "s");
	run_say(r, text);
}

void run_fail(struct run *r, int status, const char *why)
{
	struct colours c = colours(r->err);

	if (r->status == EXIT_DONE) {
		r->status = status;
		output_printf(r->err, "%sumbel:%s %s: %s%s%s%s\n", c.name, c.off, r->name, c.bad, why,
			      c.off, "");
	}
	if (!r->stopping)
		run_stop(r);
}

static void on_failed(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;
	struct colours c = colours(r->err);
	struct umbel_worker_info info;
	char why[5000];

	control_tell(r->control, e);
	if (!e->worker) {
		snprintf(why, sizeof(why), "%s; %s", e->result.why, r->last_error);
		clean(why);
		run_fail(r, EXIT_FAILED, why);
		return;
	}
	drain_pipes(e->worker);
	private_worker_info(e->worker, &info);
	if (info.has_no_program && !r->any_ran) {
		snprintf(why, sizeof(why), "%s", e->result.why);
		run_fail(r, EXIT_USAGE, clean(why));
		return;
	}
	snprintf(why, sizeof(why), "%s", e->result.why);
	snprintf(r->last_error, sizeof(r->last_error), "the last one %.400s", clean(why));
	output_printf(r->err, "%sumbel:%s slot %d pid %d: %s%s%s\n", c.name, c.off,
		      umbel_worker_slot(e->worker), (int)umbel_worker_pid(e->worker), c.bad, why,
		      c.off);
}

void run_watch_events(struct run *r)
{
	umbel_on(r->umbel, UMBEL_FORK, on_fork, r);
	umbel_on(r->umbel, UMBEL_ONLINE, on_online, r);
	umbel_on(r->umbel, UMBEL_LISTENING, on_listening, r);
	umbel_on(r->umbel, UMBEL_EXIT, on_exit_event, r);
	umbel_on(r->umbel, UMBEL_GONE, on_gone, r);
	umbel_on(r->umbel, UMBEL_FAILED, on_failed, r);
	umbel_on(r->umbel, UMBEL_MESSAGE, on_other, r);
	umbel_on(r->umbel, UMBEL_DISCONNECT, on_other, r);
}
