/* primary: for test programs that are their own primary: says what happens in the lines of `umbel run`,
 * so that the harness reads both alike. */
#ifndef TESTS_PRIMARY_H
#define TESTS_PRIMARY_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <umbel.h>

static inline int primary_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -3; /* itself, . and .. */

	while (dir && readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* umbel_open(); ret_before: of primary_descriptors(), after a first opening and closing, because libuv
 * keeps two descriptors for itself from then on. */
static inline int primary_open(int argc, char **argv, struct umbel **ret, int *ret_before)
{
	int err = umbel_open(argc, argv, ret);

	if (err || !umbel_is_primary(*ret))
		return err;
	umbel_close(*ret);
	*ret_before = primary_descriptors();
	return umbel_open(argc, argv, ret);
}

static inline void primary_say(const struct umbel_event *e, const char *text)
{
	printf("umbel: slot %d pid %d %s\n", umbel_worker_slot(e->worker),
	       (int)umbel_worker_pid(e->worker), text);
	fflush(stdout);
}

static inline void primary_on_fork(struct umbel *u, const struct umbel_event *e, void *data)
{
	primary_say(e, "started");
}

static inline void primary_on_listening(struct umbel *u, const struct umbel_event *e, void *data)
{
	char text[256];

	snprintf(text, sizeof(text), "listens on %s", e->listening.address);
	primary_say(e, text);
}

static inline void primary_on_exit(struct umbel *u, const struct umbel_event *e, void *data)
{
	char text[64];

	if (e->exit.signal >= 0)
		snprintf(text, sizeof(text), "killed by %d", e->exit.signal);
	else
		snprintf(text, sizeof(text), "%s with %d", e->exit.asked ? "left" : "exited",
			 e->exit.code);
	primary_say(e, text);
}

static inline void primary_watch(struct umbel *u)
{
	umbel_on(u, UMBEL_FORK, primary_on_fork, NULL);
	umbel_on(u, UMBEL_LISTENING, primary_on_listening, NULL);
	umbel_on(u, UMBEL_EXIT, primary_on_exit, NULL);
}

/* Last, when everything is closed. */
static inline void primary_report(int before)
{
	printf("umbel: descriptors: %d at start, %d at end\n", before, primary_descriptors());
	fflush(stdout);
}

#endif
