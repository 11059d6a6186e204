/* hello: a clustered program in 20 lines. Each connection is answered by one of the workers.
 *
 *     hello [PORT]          its own primary, a worker on each CPU
 *     umbel run -- hello    the same worker under the command
 */
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
	int err = umbel_open(argc, argv, &u); /* primary or worker? */

	snprintf(address, sizeof(address), "tcp://:%s", argc > 1 ? argv[1] : "8000");
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
