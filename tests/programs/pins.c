/* Its primary brings every connection to one worker, be it there or not. A worker reads something and says
 * its id.
 *
 *     pins PORT WORKERS ID */
#include "primary.h"

#include <signal.h>
#include <unistd.h>

static uint32_t choose(struct umbel *u, int fd, void *id)
{
	return *(uint32_t *)id;
}

static void serve(struct umbel *u, int fd, void *data)
{
	char text[64];

	if (read(fd, text, sizeof(text)) > 0)
		dprintf(fd, "%u\n", umbel_id(u));
	umbel_done(u, fd);
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	int before = 0, err;
	char address[64];
	bool is_primary;
	uint32_t id;

	if (argc < 4)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	snprintf(address, sizeof(address), "tcp://:%s", argv[1]);
	id = (uint32_t)strtoul(argv[3], NULL, 10);
	err = primary_open(argc, argv, &u, &before);
	if (err) {
		fprintf(stderr, "pins: %s\n", umbel_reason(NULL));
		return 1;
	}
	is_primary = umbel_is_primary(u);
	if (is_primary) {
		primary_watch(u);
		err = umbel_choose(u, NULL, choose, &id);
		if (!err)
			err = umbel_scale(u, atoi(argv[2]));
	} else {
		err = umbel_listen(u, address, serve, NULL);
	}
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "pins: %s\n", umbel_reason(u));
	umbel_close(u);
	if (is_primary)
		primary_report(before);
	return err != 0;
}
