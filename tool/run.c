/* run: the verb. One app in the foreground: its primary, its events as lines, its signals. */
#include "private.h"
#include "run.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* ---- signals ---- */

/* Once: a terminal that hangs up is told by several. */
static void on_output_gone(void *data)
{
	struct run *r = data;

	if (!r->stopping)
		run_stop(r);
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
		run_stop(r);
		break;
	case SIGQUIT: /* at once */
		run_stop(r);
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
		run_say(r, text);
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
		run_stop(r);
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
	run_watch_events(r);
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
