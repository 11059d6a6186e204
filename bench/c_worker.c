/* c_worker PORT [US [SLOW_US]]: a libumbel worker that answers one request on each connection, and before
 * that sleeps so many microseconds, in slot 1 SLOW_US. For `umbel run`. */
#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <umbel.h>
#include <unistd.h>

static void serve(struct umbel *u, int fd, void *data)
{
	useconds_t us = *(useconds_t *)data;

	if (us)
		usleep(us);
	answer(fd);
	umbel_done(u, fd);
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL; /* then umbel_reason() is umbel_open()'s */
	useconds_t us = argc > 2 ? (useconds_t)atoi(argv[2]) : 0;
	char address[64];
	int err;

	snprintf(address, sizeof(address), "tcp://127.0.0.1:%s", argc > 1 ? argv[1] : "");
	err = umbel_open(argc, argv, &u);
	if (!err && argc > 3 && umbel_slot(u) == 1)
		us = (useconds_t)atoi(argv[3]);
	if (!err)
		err = umbel_listen(u, address, serve, &us);
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "c_worker: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
