/* Listens, but can serve only when SIGUSR2 says so: umbel_ready(). Says its pid to every connection.
 *
 *     ready ADDRESS     for `umbel run` */
#include <signal.h>
#include <stdio.h>
#include <umbel.h>
#include <unistd.h>

static struct umbel *cluster;

static void on_signal(int sig)
{
	umbel_wake(cluster);
}

static void on_woken(struct umbel *u, const struct umbel_event *e, void *data)
{
	umbel_ready(u);
}

static void serve(struct umbel *u, int fd, void *data)
{
	dprintf(fd, "%d\n", (int)getpid());
	umbel_done(u, fd);
}

int main(int argc, char **argv)
{
	int err = umbel_open(argc, argv, &cluster);

	if (!err)
		err = umbel_on(cluster, UMBEL_WOKEN, on_woken, NULL);
	if (!err)
		err = umbel_ready(cluster); /* the first: listening is not enough */
	if (!err)
		err = umbel_listen(cluster, argv[1], serve, NULL);
	signal(SIGUSR2, on_signal); /* a test waits for the address to be listened on first */
	if (!err)
		err = umbel_run(cluster);
	if (err)
		fprintf(stderr, "ready: %s\n", umbel_reason(cluster));
	umbel_close(cluster);
	return err != 0;
}
