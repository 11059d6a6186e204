#include "life/crew.h"

#include "base/proc.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* By path, so that a new worker runs what is there then. argv[0] may be relative to where we were. */
static char *find_own_path(void)
{
	static const char deleted[] = " (deleted)";
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	size_t tail = sizeof(deleted) - 1;

	if (n < 0)
		return NULL;
	if ((size_t)n > tail && memcmp(path + n - tail, deleted, tail) == 0)
		n -= (ssize_t)tail;
	return strndup(path, (size_t)n);
}

static void raise_limit(struct crew *crew)
{
	struct rlimit all;

	getrlimit(RLIMIT_NOFILE, &crew->nofile);
	all = (struct rlimit){crew->nofile.rlim_max, crew->nofile.rlim_max};
	setrlimit(RLIMIT_NOFILE, &all);
}

int crew_open(struct crew *crew)
{
	int err = sharing_open(&crew->sharing);

	if (err)
		return err;
	TAILQ_INIT(&crew->workers);
	crew->random = (uint64_t)getpid() ^ uv_hrtime();
	crew->oom_kills = proc_oom_kills();
	crew->own_path = find_own_path();
	raise_limit(crew);
	return 0;
}

void crew_finish(struct crew *crew)
{
	free(crew->own_path);
	filter_finish(&crew->filter);
	setrlimit(RLIMIT_NOFILE, &crew->nofile);
}

uint32_t crew_chance(struct crew *crew)
{
	/* Knuth's MMIX numbers: only to keep things apart, nobody gains by guessing them. */
	crew->random = crew->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(crew->random >> 32);
}
