/* run: the verb. One app in the foreground: its primary, its events as lines, its signals. */
#include "output.h"
#include "private.h"
#include "tool.h"
#include "umbel.h"

#include "admin/control.h"
#include "admin/report.h"
#include "admin/runtime.h"
#include "base/fd.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

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

static void say(struct run *r, const char *text)
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

static void say_start(struct run *r)
{
	char command[1024], text[1200];

	join_command(r, command, sizeof(command));
	snprintf(text, sizeof(text), "%s: %d worker%s: %s", r->name, r->count, r->count == 1 ? "" : "s",
		 command);
	say(r, text);
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
static void stop(struct run *r)
{
	bool first = !r->stopping;
	int count = count_workers(r->umbel);
	char text[64];

	r->stopping = r->report.stopping = true; /* this first: saying it may find the reader gone */
	umbel_stop(r->umbel);
	if (!first)
		return;
	snprintf(text, sizeof(text), "stopping %d worker%s", count, count == 1 ? "" : "s");
	say(r, text);
}

static void fail(struct run *r, int status, const char *why)
{
	struct colours c = colours(r->err);

	if (r->status == EXIT_DONE) {
		r->status = status;
		output_printf(r->err, "%sumbel:%s %s: %s%s%s%s\n", c.name, c.off, r->name, c.bad, why,
			      c.off, "");
	}
	if (!r->stopping)
		stop(r);
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
		fail(r, EXIT_FAILED, why);
		return;
	}
	drain_pipes(e->worker);
	private_worker_info(e->worker, &info);
	if (info.has_no_program && !r->any_ran) {
		snprintf(why, sizeof(why), "%s", e->result.why);
		fail(r, EXIT_USAGE, clean(why));
		return;
	}
	snprintf(why, sizeof(why), "%s", e->result.why);
	snprintf(r->last_error, sizeof(r->last_error), "the last one %.400s", clean(why));
	output_printf(r->err, "%sumbel:%s slot %d pid %d: %s%s%s\n", c.name, c.off,
		      umbel_worker_slot(e->worker), (int)umbel_worker_pid(e->worker), c.bad, why,
		      c.off);
}

static void watch_events(struct run *r)
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

/* ---- signals ---- */

/* Once: a terminal that hangs up is told by several. */
static void on_output_gone(void *data)
{
	struct run *r = data;

	if (!r->stopping)
		stop(r);
}

static void on_signal(uv_poll_t *poll, int status, int events)
{
	struct run *r = poll->data;
	struct signalfd_siginfo info;
	char text[80];

	if (read(r->signalfd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGTERM:
	case SIGINT:
		stop(r);
		break;
	case SIGQUIT: /* at once */
		stop(r);
		umbel_stop(r->umbel);
		break;
	case SIGHUP: /* from the kernel: the terminal is gone. From somebody: not a request yet */
		if (info.ssi_code == SI_KERNEL) {
			on_output_gone(r);
			break;
		} /* fall through */
	default:
		snprintf(text, sizeof(text), "SIG%s has no meaning in this version: ignored",
			 sigabbrev_np((int)info.ssi_signo));
		say(r, text);
	}
}

static int watch_signals(struct run *r)
{
	static const int watched[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		sigaddset(&set, watched[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* ignored, it would take how workers ended away from us */
	r->signalfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signalfd < 0)
		return -errno;
	uv_poll_init(private_loop(r->umbel), &r->signals, r->signalfd);
	r->signals.data = r;
	return uv_poll_start(&r->signals, UV_READABLE, on_signal);
}

/* ---- options ---- */

/* "node app.js" is app, "./server --x" is server. */
static void default_name(struct run *r)
{
	static const char *const interpreters[] = {"node", "nodejs", "python3", "python", "php", "ruby",
						   "perl", "sh",     "bash",    NULL};
	char *const *a = r->settings.argv;
	const char *from = strrchr(a[0], '/') ? strrchr(a[0], '/') + 1 : a[0];
	char *dot;

	for (int i = 0; interpreters[i]; i++)
		if (strcmp(from, interpreters[i]) == 0)
			for (char *const *b = a + 1; *b; b++)
				if (**b != '-') {
					from = strrchr(*b, '/') ? strrchr(*b, '/') + 1 : *b;
					i = (int)(sizeof(interpreters) / sizeof(interpreters[0])) - 2;
					break;
				}
	snprintf(r->name, sizeof(r->name), "%.60s", from);
	dot = strrchr(r->name, '.');
	if (dot && dot != r->name)
		*dot = '\0';
	for (char *p = r->name; *p; p++)
		if (!is_name((char[]){'a', *p, '\0'}))
			*p = '-';
	if (!is_name(r->name))
		snprintf(r->name, sizeof(r->name), "app");
}

static int add_env(struct run *r, char *entry)
{
	size_t count = 0;
	char **more;

	if (!strchr(entry, '=') || entry[0] == '=')
		return complain("--env %s: it must be NAME=VALUE", entry);
	while (r->env && r->env[count])
		count++;
	more = reallocarray(r->env, count + 2, sizeof(*more));
	if (!more)
		return complain("out of memory");
	r->env = more;
	r->env[count] = entry;
	r->env[count + 1] = NULL;
	return 0;
}

static int set_count(struct run *r, const char *text)
{
	switch (parse_count(text, umbel_parallelism(), &r->count)) {
	case 0:
		return 0;
	case -ERANGE:
		return complain("-n %s: at most 1024 workers", text);
	default:
		return complain("-n %s: it must be a number of workers, max, or -K for max less K", text);
	}
}

static int one_option(struct run *r, int option, char *value)
{
	switch (option) {
	case 'n':
		return set_count(r, value);
	case 'N':
		if (!is_name(value))
			return complain("--name %s: letters, digits, _ . - (at most 64, not a dot or a "
					"dash first)", value);
		snprintf(r->name, sizeof(r->name), "%s", value);
		return 0;
	case 's':
		r->share = value;
		return 0;
	case 'g':
		if (parse_duration(value, &r->settings.grace_ms) < 0)
			return complain("--grace %s: it must be a time such as 30s, 1500ms, 2m", value);
		return 0;
	case 'e':
		return add_env(r, value);
	default:
		return EXIT_USAGE;
	}
}

static int parse_options(struct run *r, int argc, char **argv)
{
	static const struct option options[] = {
	    {"name", required_argument, NULL, 'N'},  {"share", required_argument, NULL, 's'},
	    {"grace", required_argument, NULL, 'g'}, {"env", required_argument, NULL, 'e'},
	    {"workers", required_argument, NULL, 'n'}, {NULL, 0, NULL, 0},
	};
	int option, err = 0;

	opterr = 0;
	/* "+": the program's options are its own. ":": we say what is missing. */
	while (!err && (option = getopt_long(argc, argv, "+:n:", options, NULL)) != -1) {
		if (option == ':')
			return complain("%s needs a value", argv[optind - 1]);
		if (option == '?')
			return complain("unknown option %s; 'umbel help run' lists them",
					argv[optind - 1]);
		err = one_option(r, option, optarg);
	}
	if (err)
		return err;
	if (!argv[optind])
		return complain("which program? For example: umbel run -- node app.js");
	r->settings.argv = argv + optind;
	r->settings.exec = argv[optind];
	r->settings.env = r->env;
	if (!r->name[0])
		default_name(r);
	return 0;
}

/* ---- control ---- */

static void on_stop_request(bool now, void *data)
{
	struct run *r = data;

	if (!r->stopping)
		stop(r);
	if (now)
		umbel_stop(r->umbel);
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
	return 0;
}

static void open_control(struct run *r)
{
	int err;

	if (r->lock < 0)
		return;
	err = control_open(private_loop(r->umbel), &r->runtime, &r->report, on_stop_request, r,
			   &r->control);
	if (err)
		complain("no control socket: %s/%s.sock: %s", r->runtime.path, r->name, strerror(-err));
}

/* ---- the run ---- */

static int prepare(struct run *r, int argc, char **argv)
{
	int err = private_open_primary(argc, argv, &r->umbel);

	if (err)
		return complain("%s", umbel_reason(NULL));
	if (private_set_share(r->umbel, r->share) < 0)
		return complain("--share %s: it must be auto, node, channel or none", r->share);
	if (umbel_setup(r->umbel, &r->settings) < 0 || private_check_program(r->umbel) < 0)
		return complain("%s", umbel_reason(r->umbel));
	err = claim_name(r);
	if (err)
		return err;
	report_init(&r->report, r->name, r->umbel);
	open_control(r);
	r->out = output_open(private_loop(r->umbel), 1, on_output_gone, r);
	r->err = output_open(private_loop(r->umbel), 2, on_output_gone, r);
	if (!r->out || !r->err || watch_signals(r) < 0)
		return complain("cannot watch signals and output: %s", strerror(errno));
	watch_events(r);
	return 0;
}

static void finish(struct run *r)
{
	control_close(r->control);
	if (r->lock >= 0)
		runtime_unlock(&r->runtime, r->name, &r->lock);
	runtime_close(&r->runtime);
	if (r->signalfd >= 0) {
		uv_close((uv_handle_t *)&r->signals, NULL);
		fd_close(&r->signalfd);
	}
	if (r->out)
		output_close(r->out);
	if (r->err)
		output_close(r->err);
	umbel_close(r->umbel);
	report_finish(&r->report);
	free(r->env);
}

static int run_app(struct run *r)
{
	int again;

	say_start(r);
	if (umbel_scale(r->umbel, r->count) < 0)
		fail(r, EXIT_FAILED, umbel_reason(r->umbel));
	do
		again = private_turn(r->umbel);
	while (again == 1);
	if (again < 0)
		fail(r, EXIT_FAILED, umbel_reason(r->umbel));
	say(r, "stopped");
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
	    .count = umbel_parallelism(),
	    .settings = UMBEL_SETTINGS,
	};
	int before = open_descriptors(), status;

	r.settings.stdio[1] = r.settings.stdio[2] = UMBEL_STDIO_PIPE;
	status = parse_options(&r, argc, argv);
	status = status ? status : prepare(&r, argc, argv);
	status = status ? status : run_app(&r);
	finish(&r);
	uv_library_shutdown(); /* else its pipe for signals is open until the very end */
	if (getenv("UMBEL_DEBUG_FDS"))
		complain("descriptors: %d at start, %d at end", before, open_descriptors());
	return status;
}

const struct verb verb_run = {
    "run", run_verb, "run [options] [--] PROGRAM [ARGS]",
    "runs PROGRAM as N workers that share its ports, in the foreground\n"
    "    -n, --workers N|max|0|-K  workers: a number; max or 0: one for each CPU; -K: max less K\n"
    "    --name NAME               name of the app (default: of the script or program)\n"
    "    --share HOW               auto, node, channel, none (default auto)\n"
    "    --grace TIME              from asking a worker to leave to SIGKILL (default 25s)\n"
    "    --env NAME=VALUE          for the workers; may be repeated"};
