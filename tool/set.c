#include "set.h"

#include "base/address.h"
#include "private.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* One more at the end; the strings are not ours. */
static int add_string(char ***strings, char *text)
{
	size_t count = 0;
	char **more;

	while (*strings && (*strings)[count])
		count++;
	more = reallocarray(*strings, count + 2, sizeof(*more));
	if (!more)
		return complain("out of memory");
	more[count] = text;
	more[count + 1] = NULL;
	*strings = more;
	return 0;
}

int set_env(struct run *r, char *entry)
{
	if (!strchr(entry, '=') || entry[0] == '=')
		return complain("--env %s: it must be NAME=VALUE", entry);
	return add_string(&r->env, entry);
}

int set_user_env(struct run *r)
{
	char *const own[] = {r->home, r->user, r->logname};
	size_t count = 0;
	int err = 0;

	if (!r->home[0])
		return 0;
	for (size_t i = 0; i < 3 && !err; i++)
		err = set_env(r, own[i]);
	while (!err && r->env[count])
		count++;
	if (err)
		return err;
	memmove(r->env + 3, r->env, (count - 3) * sizeof(*r->env));
	memcpy(r->env, own, sizeof(own));
	return 0;
}

int set_count(struct run *r, const char *text)
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

int set_duration(const char *option, const char *text, uint32_t *ret_ms)
{
	if (parse_duration(text, ret_ms) < 0)
		return complain("--%s %s: it must be a time such as 30s, 1500ms, 2m, 1h", option, text);
	return 0;
}

int set_long_duration(const char *option, const char *text, uint64_t *ret_ms)
{
	uint32_t ms = 0;
	int status = set_duration(option, text, &ms);

	*ret_ms = ms;
	return status;
}

int set_number(const char *option, const char *text, uint64_t most, uint64_t *ret)
{
	if (parse_number(text, most, ret) < 0)
		return complain("--%s %s: it must be a number, at most %llu", option, text,
				(unsigned long long)most);
	return 0;
}

int set_stop_codes(struct run *r, char *text)
{
	int count = 0;
	char *rest = text, *word;
	uint64_t code;

	while ((word = strsep(&rest, ","))) {
		if (parse_number(word, 255, &code) < 0 || count == 256)
			return complain("--stop-exit-codes: '%s' is no exit status; it must be numbers from 0 "
					"to 255, such as 0,3", word);
		r->stop_codes[count++] = (int)code;
	}
	r->stop_codes[count] = -1;
	r->settings.stop_codes = r->stop_codes;
	return 0;
}

int set_restart(struct run *r, const char *text)
{
	static const char *const words[] = {[UMBEL_RESTART_ALWAYS] = "always",
					    [UMBEL_RESTART_ON_FAILURE] = "on-failure",
					    [UMBEL_RESTART_NEVER] = "never"};

	for (int i = UMBEL_RESTART_ALWAYS; i <= UMBEL_RESTART_NEVER; i++)
		if (strcmp(text, words[i]) == 0) {
			r->settings.restart = (enum umbel_restart)i;
			return 0;
		}
	return complain("--restart %s: it must be always, on-failure or never", text);
}

int set_when_empty(struct run *r, const char *text)
{
	r->settings.queue_when_empty = strcmp(text, "queue") == 0;
	if (!r->settings.queue_when_empty && strcmp(text, "exit") != 0)
		return complain("--when-empty %s: it must be exit or queue", text);
	return 0;
}

int set_surge(struct run *r, const char *text)
{
	uint64_t surge = UMBEL_SURGE_ALL;

	if (strcmp(text, "max") != 0 && (parse_number(text, 1024, &surge) < 0 || surge == 0))
		return complain("--surge %s: it must be max, or a number from 1 to 1024", text);
	r->settings.surge = (uint32_t)surge;
	return 0;
}

int set_policy(struct run *r, const char *text)
{
	if (!private_policy_from_name(text, &r->settings.policy))
		return complain("--policy %s: it must be auto, " PRIVATE_POLICY_NAMES, text);
	return 0;
}

int set_max_connections(struct run *r, const char *text)
{
	uint64_t most = 0;
	int status = set_number("max-connections", text, UINT32_MAX, &most);

	r->settings.max_connections = (uint32_t)most;
	return status;
}

int set_listen(struct run *r, char *text)
{
	struct address ignored;
	const char *why;
	int status;

	if (address_parse(text, &ignored, &why) < 0)
		return complain("--listen %.200s: %s", text, why);
	status = add_string(&r->listen, text);
	r->settings.listen = r->listen;
	return status;
}

int set_no_share(struct run *r, char *text)
{
	struct address ignored;
	const char *why;
	int status;

	if (address_parse(text, &ignored, &why) < 0)
		return complain("--no-share %.200s: %s", text, why);
	status = add_string(&r->no_share, text);
	r->settings.no_share = r->no_share;
	return status;
}

int set_ready_command(struct run *r, char *text)
{
	if (!text[0])
		return complain("--ready-cmd: it must be a command, such as 'curl -fs http://127.0.0.1:8000/'");
	r->ready_command[0] = "/bin/sh";
	r->ready_command[1] = "-c";
	r->ready_command[2] = text;
	r->settings.ready_command = r->ready_command;
	return 0;
}

int set_ready_url(struct run *r, char *text)
{
	int err = probe_check_url("--ready-url", text);
	ssize_t n;

	if (err)
		return err;
	n = readlink("/proc/self/exe", r->own_path, sizeof(r->own_path) - 1);
	if (n < 0)
		return complain("--ready-url: /proc/self/exe: %s", strerror(errno));
	r->own_path[n] = '\0';
	r->ready_command[0] = r->own_path;
	r->ready_command[1] = "probe";
	r->ready_command[2] = text;
	r->settings.ready_command = r->ready_command;
	return 0;
}

int set_pass_fd(struct run *r, const char *text)
{
	size_t count = 0, most = sizeof(r->pass_fds) / sizeof(r->pass_fds[0]) - 1;
	uint64_t fd;
	int type;

	while (r->pass_fds[count] >= 0)
		count++;
	if (parse_number(text, INT_MAX, &fd) < 0)
		return complain("--pass-fd %s: it must be the number of an open socket", text);
	if (getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof(type)}) < 0)
		return complain("--pass-fd %s: %s", text,
				errno == EBADF ? "no such descriptor is open here" : "it is no socket");
	if (count == most)
		return complain("--pass-fd: at most %zu", most);
	r->pass_fds[count] = (int)fd;
	r->pass_fds[count + 1] = -1;
	r->settings.pass_fds = r->pass_fds;
	return 0;
}

int set_user(struct run *r, const char *text)
{
	struct passwd *user = getpwnam(text);
	uint64_t id;

	if (!user && parse_number(text, UINT32_MAX - 1, &id) < 0)
		return complain("--user %s: there is no such user", text);
	user = user ? user : getpwuid((uid_t)id);
	r->settings.uid = user ? user->pw_uid : (int64_t)id;
	if (!user)
		return 0;
	if (!r->group_is_set)
		r->settings.gid = (int64_t)user->pw_gid;
	snprintf(r->home, sizeof(r->home), "HOME=%s", user->pw_dir);
	snprintf(r->user, sizeof(r->user), "USER=%.60s", user->pw_name);
	snprintf(r->logname, sizeof(r->logname), "LOGNAME=%.60s", user->pw_name);
	return 0;
}

int set_group(struct run *r, const char *text)
{
	const struct group *group = getgrnam(text);
	uint64_t id = 0;

	if (!group && parse_number(text, UINT32_MAX - 1, &id) < 0)
		return complain("--group %s: there is no such group", text);
	r->settings.gid = group ? group->gr_gid : (int64_t)id;
	r->group_is_set = true;
	return 0;
}

int set_cwd(struct run *r, const char *text)
{
	struct stat st;

	if (stat(text, &st) < 0)
		return complain("--cwd %s: %s", text, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return complain("--cwd %s: it is no directory", text);
	r->settings.cwd = text;
	return 0;
}

int set_name(struct run *r, const char *text)
{
	if (!is_name(text))
		return complain("--name %s: letters, digits, _ . - (at most 64, not a dot or a dash first)",
				text);
	snprintf(r->name, sizeof(r->name), "%s", text);
	return 0;
}
