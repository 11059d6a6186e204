/* options: those of the verb run: which there are, and the help. What their values mean is in set.c. */
#include "set.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* A program's text is no name. */
static bool is_followed_by_text(const char *option)
{
	static const char *const options[] = {"-e", "-p", "-pe", "--eval", "--print", NULL};

	for (int i = 0; options[i]; i++)
		if (strcmp(option, options[i]) == 0)
			return true;
	return false;
}

/* "node app.js" is app, "./server --x" is server, "node -e '...'" is node. */
static void default_name(struct run *r)
{
	static const char *const interpreters[] = {"node", "nodejs", "python3", "python", "php", "ruby",
						   "perl", "sh",     "bash",    NULL};
	char *const *a = r->settings.argv;
	const char *from = strrchr(a[0], '/') ? strrchr(a[0], '/') + 1 : a[0];
	char *dot;

	for (int i = 0; interpreters[i]; i++)
		if (strcmp(from, interpreters[i]) == 0)
			for (char *const *b = a + 1; *b && !is_followed_by_text(*b); b++)
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

enum { NAME = 1, SHARE, ENV, GRACE, READY_TIMEOUT, SOAK, MIN_UPTIME, LAME_DUCK, AGE, MEMORY, CONNECTIONS,
       MAX_FAILURES, RESTART, STOP_CODES, STOP_SIGNAL, SURGE, SIGNAL_FIRST, SHUTDOWN_MESSAGE, WAIT_READY,
       NO_PRELOAD, WHEN_EMPTY, POLICY, MAX_CONNECTIONS, LISTEN, PASS_FD, CWD, USER, GROUP, NO_SHARE,
       SHARE_UDP, SPARES, READY_CMD, READY_URL, READY_AFTER, LINGER };

enum { SPARES_MOST = 64 };

static const struct option options[] = {
    {"workers", required_argument, NULL, 'n'},
    {"name", required_argument, NULL, NAME},
    {"share", required_argument, NULL, SHARE},
    {"env", required_argument, NULL, ENV},
    {"cwd", required_argument, NULL, CWD},
    {"user", required_argument, NULL, USER},
    {"group", required_argument, NULL, GROUP},
    {"policy", required_argument, NULL, POLICY},
    {"max-connections", required_argument, NULL, MAX_CONNECTIONS},
    {"listen", required_argument, NULL, LISTEN},
    {"no-share", required_argument, NULL, NO_SHARE},
    {"share-udp", no_argument, NULL, SHARE_UDP},
    {"pass-fd", required_argument, NULL, PASS_FD},
    {"spares", required_argument, NULL, SPARES},
    {"grace", required_argument, NULL, GRACE},
    {"when-empty", required_argument, NULL, WHEN_EMPTY},
    {"ready-timeout", required_argument, NULL, READY_TIMEOUT},
    {"wait-ready", no_argument, NULL, WAIT_READY},
    {"ready-cmd", required_argument, NULL, READY_CMD},
    {"ready-url", required_argument, NULL, READY_URL},
    {"ready-after", required_argument, NULL, READY_AFTER},
    {"soak", required_argument, NULL, SOAK},
    {"surge", required_argument, NULL, SURGE},
    {"min-uptime", required_argument, NULL, MIN_UPTIME},
    {"max-failures", required_argument, NULL, MAX_FAILURES},
    {"restart", required_argument, NULL, RESTART},
    {"stop-exit-codes", required_argument, NULL, STOP_CODES},
    {"stop-signal", required_argument, NULL, STOP_SIGNAL},
    {"signal-first", no_argument, NULL, SIGNAL_FIRST},
    {"shutdown-with-message", no_argument, NULL, SHUTDOWN_MESSAGE},
    {"linger", required_argument, NULL, LINGER},
    {"lame-duck", required_argument, NULL, LAME_DUCK},
    {"recycle-memory", required_argument, NULL, MEMORY},
    {"max-memory-restart", required_argument, NULL, MEMORY}, /* PM2's name */
    {"recycle-age", required_argument, NULL, AGE},
    {"recycle-connections", required_argument, NULL, CONNECTIONS},
    {"no-node-preload", no_argument, NULL, NO_PRELOAD},
    {NULL, 0, NULL, 0},
};

static int time_option(struct run *r, int option, const char *name, const char *value)
{
	struct umbel_settings *s = &r->settings;

	switch (option) {
	case GRACE:
		return set_duration(name, value, &s->grace_ms);
	case READY_TIMEOUT:
		return set_duration(name, value, &s->ready_ms);
	case READY_AFTER:
		return set_duration(name, value, &s->ready_after_ms);
	case LINGER:
		return set_duration(name, value, &s->linger_ms);
	case SOAK:
		return set_duration(name, value, &s->soak_ms);
	case MIN_UPTIME:
		return set_duration(name, value, &s->min_up_ms);
	case LAME_DUCK:
		return set_duration(name, value, &r->lame_duck_ms);
	default:
		return set_long_duration(name, value, &s->recycle_age_ms);
	}
}

static int number_option(struct run *r, int option, const char *name, const char *value)
{
	struct umbel_settings *s = &r->settings;
	uint64_t number = 0;
	int status;

	switch (option) {
	case MEMORY:
		if (parse_size(value, &s->recycle_bytes) == 0)
			return 0;
		return complain("--%s %s: it must be a size such as 300M, 2G", name, value);
	case CONNECTIONS:
		return set_number(name, value, UINT32_MAX, &s->recycle_connections);
	case SPARES:
		status = set_number(name, value, SPARES_MOST, &number);
		s->spares = (uint32_t)number;
		return status;
	default:
		status = set_number(name, value, UINT32_MAX, &number);
		s->max_failures = (uint32_t)number;
		return status;
	}
}

static int flag_option(struct run *r, int option)
{
	struct umbel_settings *s = &r->settings;

	switch (option) {
	case SHUTDOWN_MESSAGE: /* as PM2 */
		s->stop_message = "\"shutdown\"";
		s->signal_first = true;
		break;
	case SIGNAL_FIRST:
		s->signal_first = true;
		break;
	case WAIT_READY:
		s->wait_ready = true;
		break;
	case SHARE_UDP:
		s->share_udp = true;
		break;
	default:
		s->node_preload = false;
	}
	return 0;
}

static int listen_option(struct run *r, int option, char *value)
{
	switch (option) {
	case POLICY:
		return set_policy(r, value);
	case MAX_CONNECTIONS:
		return set_max_connections(r, value);
	case NO_SHARE:
		return set_no_share(r, value);
	default:
		return set_listen(r, value);
	}
}

static int process_option(struct run *r, int option, char *value)
{
	switch (option) {
	case ENV:
		return set_env(r, value);
	case CWD:
		return set_cwd(r, value);
	case USER:
		return set_user(r, value);
	case GROUP:
		return set_group(r, value);
	default:
		return set_pass_fd(r, value);
	}
}

/* name: as it was typed; one may have two. */
static int one_option(struct run *r, int option, const char *name, char *value)
{
	switch (option) {
	case 'n':
		return set_count(r, value);
	case NAME:
		return set_name(r, value);
	case SHARE:
		r->share = value;
		return 0;
	case POLICY:
	case MAX_CONNECTIONS:
	case LISTEN:
	case NO_SHARE:
		return listen_option(r, option, value);
	case READY_CMD:
		return set_ready_command(r, value);
	case READY_URL:
		return set_ready_url(r, value);
	case ENV:
	case CWD:
	case USER:
	case GROUP:
	case PASS_FD:
		return process_option(r, option, value);
	case RESTART:
		return set_restart(r, value);
	case STOP_CODES:
		return set_stop_codes(r, value);
	case STOP_SIGNAL:
		r->settings.stop_signal = parse_signal(value);
		return r->settings.stop_signal > 0
			   ? 0
			   : complain("--stop-signal %s: there is no such signal; for example INT", value);
	case WHEN_EMPTY:
		return set_when_empty(r, value);
	case SURGE:
		return set_surge(r, value);
	case MEMORY:
	case CONNECTIONS:
	case MAX_FAILURES:
	case SPARES:
		return number_option(r, option, name, value);
	case SHUTDOWN_MESSAGE:
	case SIGNAL_FIRST:
	case WAIT_READY:
	case SHARE_UDP:
	case NO_PRELOAD:
		return flag_option(r, option);
	default:
		return time_option(r, option, name, value);
	}
}

int options_parse(struct run *r, int argc, char **argv)
{
	int option, index = 0, err = 0;

	opterr = 0;
	/* "+": the program's options are its own. ":": we say what is missing. */
	while (!err && (option = getopt_long(argc, argv, "+:n:", options, &index)) != -1) {
		if (option == ':')
			return complain("%s needs a value", argv[optind - 1]);
		if (option == '?')
			return complain("unknown option %s; 'umbel help run' lists them",
					argv[optind - 1]);
		err = one_option(r, option, options[index].name, optarg);
	}
	if (err)
		return err;
	if (r->settings.uid >= 0 && r->settings.gid < 0)
		return complain("--user %lld: nobody has this number, so --group is needed too",
				(long long)r->settings.uid);
	if (!argv[optind])
		return complain("which program? For example: umbel run -- node app.js");
	err = set_user_env(r);
	if (err)
		return err;
	r->settings.argv = argv + optind;
	r->settings.exec = argv[optind];
	r->settings.env = r->env;
	if (!r->name[0])
		default_name(r);
	return 0;
}

const char options_help[] =
    "runs PROGRAM as N workers that share its ports, in the foreground\n"
    "    -n, --workers N|max|0|-K   workers: a number; max or 0: one for each CPU; -K: max less K\n"
    "    --name NAME                name of the app (default: of the script or program)\n"
    "    --share HOW                how it gets its sockets: node or channel, it asks for them;\n"
    "                               intercept, at its bind(); listen-fds, at its start; none, it does\n"
    "                               not (default auto: node for Node, else intercept)\n"
    "    --no-share ADDRESS         one that is not shared at bind(); may be repeated\n"
    "    --share-udp                at bind() udp is shared, too\n"
    "    --spares N                 workers that are started ahead, for slots to come (default 0)\n"
    "    --policy P                 how a connection finds its worker: rr, in turn; least, where it waits\n"
    "                               least; sticky, by the client's address; spread, by chance, by the\n"
    "                               kernel; shared, whoever wakes first (default auto: rr, but spread if\n"
    "                               NODE_CLUSTER_SCHED_POLICY=none); 'umbel policy' switches it\n"
    "    --max-connections N        open at a time, in all workers; the kernel queues the others (rr, least)\n"
    "    --listen ADDRESS           the options of a listener (tcp://:8000?backlog=511), and that workers\n"
    "                               of another user may have it. It is offered as LISTEN_FDS, its port is\n"
    "                               in PORT, and of bind() others are let alone; may be repeated\n"
    "    --pass-fd N                a socket that was opened here, for listen({fd: N}); may be repeated\n"
    "  The workers get:\n"
    "    --env NAME=VALUE           may be repeated\n"
    "    --cwd DIR                  their directory\n"
    "    --user USER, --group GROUP a name or a number; of a user also the groups and HOME\n"
    "  A worker ends:\n"
    "    --restart WHEN             always, on-failure or never is it followed (default always)\n"
    "    --stop-exit-codes N,N      exit statuses after which it is not followed\n"
    "    --min-uptime TIME          ending so soon after being ready is a crash (default 1s)\n"
    "    --max-failures N           so many ends in a row before being ready: the slot has failed\n"
    "                               (default 5; 0: never)\n"
    "    --when-empty HOW           none is left and none follows: exit, or queue connections until\n"
    "                               reload or scale (default exit)\n"
    "  It is ready:\n"
    "    --ready-timeout TIME       or else it is killed (default 30s; 0: never)\n"
    "    --wait-ready               when it says so (process.send('ready')), not when it listens\n"
    "    --ready-cmd COMMAND        when it listens, and this exits with 0 in a shell\n"
    "    --ready-url URL            the same: when http://... is answered with 200 to 399\n"
    "    --ready-after TIME         then, if it never listens\n"
    "  It is asked to leave:\n"
    "    --grace TIME               from asking to SIGKILL (default 25s)\n"
    "    --stop-signal SIGNAL       once it is drained (default TERM)\n"
    "    --signal-first             the signal at once: the program drains by itself\n"
    "    --shutdown-with-message    the message 'shutdown' instead of the signal\n"
    "    --no-node-preload          do not mark responses of Node workers that drain\n"
    "    --linger TIME              how long handshakes under way are waited for (default 3s)\n"
    "    --lame-duck TIME           before stopping: not ready any more, but still serving\n"
    "  It is replaced, successor first:\n"
    "    --soak TIME                a successor has to stay ready so long (default 1s)\n"
    "    --surge N|max              slots with two workers at a time (default 1; max: all or nothing)\n"
    "    --recycle-memory SIZE      when it uses more (300M, 2G)\n"
    "    --recycle-age TIME         when it is older\n"
    "    --recycle-connections N    when it was handed so many";
