/* c_worker PORT: a libumbel worker that answers one request on each connection. For `umbel run`. */
#include "answer.h"

#include <stdio.h>
#include <umbel.h>

static void serve(struct umbel *u, int fd, void *data)
{
	answer(fd);
	umbel_done(u, fd);
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL; /* then umbel_reason() is umbel_open()'s */
	char address[64];
	int err;

	snprintf(address, sizeof(address), "tcp://127.0.0.1:%s", argc > 1 ? argv[1] : "");
	err = umbel_open(argc, argv, &u);
	if (!err)
		err = umbel_listen(u, address, serve, NULL);
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "c_worker: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
