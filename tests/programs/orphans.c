/* Leaves processes behind that nobody waits for. For the tests of a primary that is PID 1.
 *
 *     orphans PORT
 *
 * Reads one line from each connection: "orphans COUNT" makes so many (fork twice: the first child ends
 * at once, its child a moment later), "sleep MS" takes its time; both are answered with "done". */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <umbel.h>
#include <unistd.h>

/* Some outlive their parent, some are zombies before it is gone. */
static void make_orphan(int number)
{
	pid_t pid = fork();

	if (pid < 0)
		abort();
	if (pid == 0) {
		if (fork() == 0) {
			usleep((useconds_t)(number % 5) * 10000);
			_exit(number % 256);
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void serve(struct umbel *u, int fd, void *data)
{
	char line[64] = "";
	int number;

	if (read(fd, line, sizeof(line) - 1) < 0)
		line[0] = '\0';
	if (sscanf(line, "orphans %d", &number) == 1)
		for (int i = 0; i < number; i++)
			make_orphan(i);
	else if (sscanf(line, "sleep %d", &number) == 1)
		usleep((useconds_t)number * 1000);
	dprintf(fd, "done\n");
	umbel_done(u, fd);
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL; /* then umbel_reason() is umbel_open()'s */
	char address[64];
	int err;

	signal(SIGPIPE, SIG_IGN);
	snprintf(address, sizeof(address), "tcp://:%s", argc > 1 ? argv[1] : "");
	err = umbel_open(argc, argv, &u);
	if (!err)
		err = umbel_listen(u, address, serve, NULL);
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "orphans: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
