/* At SIGUSR1 a child says TEXT to $NOTIFY_SOCKET, as sd_notify(3), and ends. When nothing of it is left this stops
 * itself, or exits with CODE.
 *
 *     says TEXT [CODE] */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int say(const char *text)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (name ? strlen(name) : 0));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!name || name[0] != '@' || length > sizeof(to))
		return 2;
	memcpy(to.sun_path + 1, name + 1, strlen(name) - 1);
	return sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to, length) < 0;
}

int main(int argc, char **argv)
{
	sigset_t awaited;
	int sig, status;
	pid_t child;

	if (argc < 2)
		return 2;
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGUSR1);
	sigprocmask(SIG_BLOCK, &awaited, NULL);
	puts("begins");
	fflush(stdout);
	sigwait(&awaited, &sig);
	child = fork();
	if (child == 0)
		_exit(say(argv[1]));
	if (waitpid(child, &status, 0) < 0 || status != 0)
		return 1;
	if (argc > 2)
		return atoi(argv[2]);
	raise(SIGSTOP);
	pause();
	return 0;
}
