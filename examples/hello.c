/* hello: a whole clustered server. Each connection is told which worker it came to.
 *
 *     hello [PORT]        on every core; then: nc localhost 8000 */
#include <signal.h>
#include <stdio.h>
#include <umbel.h>

static void hello(struct umbel *u, int fd, void *data)
{
	dprintf(fd, "hello from worker %d\n", umbel_slot(u));
	umbel_done(u, fd); /* closes it, and counts it */
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	char address[64];
	int err;

	signal(SIGPIPE, SIG_IGN); /* a client may be gone before it is answered */
	snprintf(address, sizeof(address), "tcp://:%s", argc > 1 ? argv[1] : "8000");

	err = umbel_open(argc, argv, &u); /* primary or worker? */
	if (!err)
		err = umbel_is_primary(u) ? umbel_scale(u, umbel_parallelism())
					  : umbel_listen(u, address, hello, NULL);
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "hello: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
