/* events: what happens to the workers of a run, told as lines and to the control socket's clients. */
#include "private.h"
#include "run.h"

#include <ctype.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What hangs on a worker while it lives. */
struct watched {
	struct worker_pipe *out, *err;
	struct tail tail; /* of its stderr */
	bool was_ready;
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

void run_say(struct run *r, const char *text)
{
	struct colours c = colours(r->out);

	output_printf(r->out, "%sumbel:%s %s\n", c.name, c.off, text);
}

static void say_of(struct run *r, const struct umbel_worker *w, bool good, const char *text)
{
	struct colours c = colours(r->out);

	char who[32] = "spare";

	if (umbel_worker_slot(w))
		snprintf(who, sizeof(who), "slot %d", umbel_worker_slot(w));
	output_printf(r->out, "%sumbel:%s %s pid %d %s%s%s\n", c.name, c.off, who, (int)umbel_worker_pid(w),
		      good ? c.good : c.bad, text, c.off);
}

static void join_command(const struct run *r, char *text, size_t size)
{
	size_t len = 0;

	for (char *const *a = r->settings.argv; *a && len < size; a++)
		len += (size_t)snprintf(text + len, size - len, "%s%s", len ? " " : "", *a);
	for (; *text; text++) /* a script's lines */
		if (iscntrl((unsigned char)*text))
			*text = ' ';
}

void run_say_start(struct run *r)
{
	char command[1024], text[1200];

	join_command(r, command, sizeof(command));
	snprintf(text, sizeof(text), "%s: %d worker%s: %s", r->name, r->count, plural(r->count),
		 command);
	run_say(r, text);
}

/* ---- for those who follow, and for `umbel why` ---- */

static void tell(struct run *r, const struct umbel_event *e)
{
	if (control_is_followed(r->control))
		control_tell(r->control, report_event(e));
}

static json_t *lines_of(const struct tail *t)
{
	json_t *lines = json_array();
	const char *line;

	for (unsigned i = 0; (line = tail_line(t, i)); i++)
		json_array_append_new(lines, json_string(line));
	return lines;
}

/* Takes the record. */
static void record(struct run *r, json_t *event)
{
	if (event)
		history_add(&r->history, event);
	control_tell(r->control, event);
}

static void record_exit(struct run *r, const struct umbel_event *e, const char *how)
{
	const struct watched *p = *umbel_worker_data(e->worker);
	struct umbel_worker_info info;
	json_t *event = report_event(e);

	private_worker_info(e->worker, &info);
	json_object_set_new(event, "text", json_string(how));
	json_object_set_new(event, "was_ready", json_boolean(p && p->was_ready));
	json_object_set_new(event, "handed", json_integer((json_int_t)info.handed));
	json_object_set_new(event, "lines", p ? lines_of(&p->tail) : json_array());
	record(r, event);
}

/* ---- events ---- */

static void make_prefix(const struct umbel_worker *w, char *out, size_t size)
{
	if (umbel_worker_slot(w))
		snprintf(out, size, "[%d] ", umbel_worker_slot(w));
	else
		snprintf(out, size, "[spare] ");
}

static void on_fork(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;
	struct watched *p = calloc(1, sizeof(*p));
	char prefix[32];

	r->any_started = true;
	make_prefix(e->worker, prefix, sizeof(prefix));
	if (p) {
		p->out = pipe_open(r->out, private_take_stdio(e->worker, 1), prefix, NULL, &p->out);
		p->err = pipe_open(r->err, private_take_stdio(e->worker, 2), prefix, &p->tail, &p->err);
	}
	*umbel_worker_data(e->worker) = p;
	say_of(r, e->worker, true, "started");
	tell(r, e);
}

static void on_online(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;

	r->any_ran = true;
	tell(r, e);
}

/* Its message and other things that are for `events` only. */
static void on_other(struct umbel *u, const struct umbel_event *e, void *data)
{
	tell(data, e);
}

static void on_listening(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;
	char text[5000];

	snprintf(text, sizeof(text), "listens on %s", e->listening.address);
	say_of(r, e->worker, true, clean(text));
	tell(r, e);
}

static void on_ready(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct watched *p = *umbel_worker_data(e->worker);

	char prefix[32];

	if (p) {
		p->was_ready = true;
		make_prefix(e->worker, prefix, sizeof(prefix)); /* it was a spare until now, perhaps */
		pipe_rename(p->out, prefix);
		pipe_rename(p->err, prefix);
	}
	tell(data, e);
}

static void drain_pipes(const struct umbel_worker *w)
{
	struct watched *p = *umbel_worker_data((struct umbel_worker *)w);

	if (p) {
		pipe_drain(p->out);
		pipe_drain(p->err);
	}
}

/* "killed by SIGKILL after 3.0 s" */
static void describe_exit(const struct umbel_event *e, bool left, char *text, size_t size)
{
	double seconds = (double)e->exit.up_ms / 1000;
	const char *signal = e->exit.signal >= 0 ? sigabbrev_np(e->exit.signal) : NULL;

	if (e->exit.code < 0 && e->exit.signal < 0)
		snprintf(text, size, "ended after %.1f s", seconds);
	else if (left)
		snprintf(text, size, "left after %.1f s", seconds);
	else if (e->exit.signal >= 0)
		snprintf(text, size, "killed by SIG%s after %.1f s%s%s%s", signal ? signal : "?", seconds,
			 e->exit.core ? " (core dumped)" : "", e->exit.late ? ": not ready in time" : "",
			 e->exit.out_of_memory ? ": out of memory" : "");
	else
		snprintf(text, size, "exited with %d after %.1f s", e->exit.code, seconds);
	if (e->exit.in_service > 0 && strlen(text) < size)
		snprintf(text + strlen(text), size - strlen(text), ", with %u connection%s", e->exit.in_service,
			 e->exit.in_service == 1 ? "" : "s");
}

static bool is_wanted_code(const struct run *r, int code)
{
	for (const int *wanted = r->settings.stop_codes; wanted && *wanted >= 0; wanted++)
		if (*wanted == code)
			return true;
	return false;
}

static void note_bad_end(struct run *r, const struct umbel_event *e, const char *how)
{
	const struct watched *p = *umbel_worker_data(e->worker);
	bool ready = p && p->was_ready;

	if (umbel_worker_slot(e->worker) == 0)
		return; /* nobody's failure */
	snprintf(r->last_error, sizeof(r->last_error), "the last one %s%s", how,
		 e->exit.code == 0 && !ready ? " without ever listening: umbel is for servers" : "");
	if (p)
		r->last_tail = p->tail;
}

static void on_exit_event(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;
	bool left = e->exit.asked &&
		    (e->exit.code == 0 || e->exit.signal == SIGTERM ||
		     e->exit.signal == umbel_settings(u)->stop_signal);
	char text[160];

	left |= e->exit.asked && umbel_worker_slot(e->worker) == 0; /* a spare that is not wanted any more is killed */
	r->any_ran = true;
	drain_pipes(e->worker); /* its last words before its end */
	describe_exit(e, left, text, sizeof(text));
	if (!left)
		note_bad_end(r, e, text);
	say_of(r, e->worker, left, text);
	if (umbel_worker_slot(e->worker))
		report_note_exit(&r->report, umbel_worker_slot(e->worker), text,
				 !e->exit.asked && e->exit.code != 0 && !is_wanted_code(r, e->exit.code));
	if (umbel_worker_slot(e->worker) || !e->exit.asked)
		record_exit(r, e, text);
	else
		tell(r, e); /* a spare that was not wanted any more */
}

static void on_gone(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct watched *p = *umbel_worker_data(e->worker);
	struct run *r = data;

	drain_pipes(e->worker);
	if (p) {
		pipe_close(p->out);
		pipe_close(p->err);
	}
	free(p);
	tell(r, e);
	signals_reap(r);
}

static int count_workers(const struct umbel *u)
{
	const struct umbel_worker *w = NULL;
	int count = 0;

	while ((w = umbel_next(u, w ? umbel_worker_id(w) : 0)))
		count += umbel_worker_slot(w) > 0;
	return count;
}

/* ---- the whole run ---- */

static void on_note(int slot, const char *what, const char *text, void *data)
{
	struct run *r = data;
	char line[800];

	if (strcmp(what, "scale") == 0 && !r->any_started)
		return; /* the first line has said it */
	if (strcmp(what, "reload") == 0)
		r->last_tail.count = 0; /* who ends from now on may be its reason */
	if (slot)
		snprintf(line, sizeof(line), "slot %d: %s", slot, text);
	else if (strcmp(what, "spare") == 0)
		snprintf(line, sizeof(line), "spare %s", text);
	else
		snprintf(line, sizeof(line), "%s: %s", what, text);
	if (strcmp(what, "failed") == 0)
		snprintf(line, sizeof(line), "slot %d failed: %s", slot, text);
	run_say(r, clean(line));
	record(r, report_note(slot, what, text));
}

static void on_reloaded(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;
	json_t *event = report_event(e);
	char line[600];

	snprintf(line, sizeof(line), "reload%s: %s", e->result.error ? " undone" : "", e->result.why);
	run_say(r, clean(line));
	if (e->result.error)
		json_object_set_new(event, "lines", lines_of(&r->last_tail));
	history_add(&r->history, event);
	control_tell(r->control, event);
	control_reload_over(r->control);
}

/* Nobody is left, and nobody follows: by --restart or --stop-exit-codes. */
static void on_empty(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;

	tell(r, e);
	if (r->stopping || private_wanted(u) > 0 || r->report.scaled_to == 0 ||
	    r->settings.queue_when_empty)
		return;
	if (report_any_bad(&r->report)) {
		run_fail(r, EXIT_FAILED, "every worker has ended, and none is to follow");
		return;
	}
	run_say(r, "every worker has ended, and none is to follow");
	run_stop(r);
}

/* The second time: at once. */
void run_stop(struct run *r)
{
	bool first = !r->stopping;
	int count = count_workers(r->umbel);
	char text[64];

	r->stopping = r->report.stopping = true; /* this first: saying it may find the reader gone */
	r->report.lame_duck = false;
	umbel_stop(r->umbel);
	if (!first || count == 0)
		return;
	snprintf(text, sizeof(text), "stopping %d worker%s", count, plural(count));
	run_say(r, text);
}

void run_stop_once(struct run *r)
{
	if (!r->stopping)
		run_stop(r);
}

void run_fail(struct run *r, int status, const char *why)
{
	struct colours c = colours(r->err);

	if (r->status == EXIT_DONE) {
		r->status = status;
		output_printf(r->err, "%sumbel:%s %s: %s%s%s%s\n", c.name, c.off, r->name, c.bad, why,
			      c.off, "");
	}
	run_stop_once(r);
}

/* Every slot has failed: the reason, and what the last one said. */
static void fail_with_lines(struct run *r, const char *why)
{
	char text[1000];
	const char *line;

	snprintf(text, sizeof(text), "%.400s; %.500s", why, r->last_error);
	run_fail(r, EXIT_FAILED, clean(text));
	for (unsigned i = 0; (line = tail_line(&r->last_tail, i)); i++)
		output_printf(r->err, "    %s\n", line);
}

static void on_failed(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct run *r = data;
	struct colours c = colours(r->err);
	struct umbel_worker_info info;
	char why[5000];

	record(r, report_event(e));
	if (!e->worker) {
		fail_with_lines(r, e->result.why);
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
	umbel_on(r->umbel, UMBEL_READY, on_ready, r);
	umbel_on(r->umbel, UMBEL_RELOADED, on_reloaded, r);
	umbel_on(r->umbel, UMBEL_EMPTY, on_empty, r);
	private_on_note(r->umbel, on_note, r);
	umbel_on(r->umbel, UMBEL_EXIT, on_exit_event, r);
	umbel_on(r->umbel, UMBEL_GONE, on_gone, r);
	umbel_on(r->umbel, UMBEL_FAILED, on_failed, r);
	umbel_on(r->umbel, UMBEL_MESSAGE, on_other, r);
	umbel_on(r->umbel, UMBEL_DISCONNECT, on_other, r);
}
