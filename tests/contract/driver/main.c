/* main: a driver opens libumbel, waits for whatever comes, and closes all. */
#include "driver.h"
#include "primary.h"

#include <unistd.h>

static int loop(struct driver *d)
{
	struct pollfd p[2 + MAX_SOCKETS];
	nfds_t count;
	int r = 1;

	p[0] = (struct pollfd){umbel_fd(d->umbel), POLLIN, 0};
	p[1] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
	while (r == 1) {
		/* No more than are open: poll(2) allows no more than RLIMIT_NOFILE. */
		count = 2 + sockets_poll(d, p + 2);
		if (poll(p, count, -1) < 0)
			continue;
		for (nfds_t i = 2; i < count; i++)
			if (p[i].revents)
				sockets_read(d, p[i].fd);
		if (p[1].revents && !commands_read(d))
			return 0;
		r = umbel_dispatch(d->umbel);
	}
	return r;
}

int main(int argc, char **argv)
{
	static struct driver driver = {.take = "close"};
	int before = 0, r;

	if (primary_open(argc, argv, &driver.umbel, &before) < 0) {
		fprintf(stderr, "driver: %s\n", umbel_reason(NULL));
		return 2;
	}
	sockets_init(&driver);
	events_watch(&driver);
	r = loop(&driver);
	sockets_finish(&driver);
	umbel_close(driver.umbel);
	json_decref(driver.settings);
	primary_report(before);
	return r != 0;
}
