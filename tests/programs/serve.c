/* Says its pid to every connection, reads one line and does what it says, in a thread for each.
 *
 *     serve ADDRESS [WORKERS [MS]]     WORKERS: when it is its own primary (2)
 *                                      MS: how late a worker listens
 *
 * Lines: "sleep SECONDS", "stop" (umbel_stop), anything else; answered with "done". */
#include "primary.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct connection {
	struct umbel *umbel;
	int fd;
};

static atomic_bool wants_stop;

static void *talk(void *data)
{
	struct connection *c = data;
	char line[64] = "";
	unsigned seconds;

	dprintf(c->fd, "%d\n", (int)getpid());
	if (read(c->fd, line, sizeof(line) - 1) < 0)
		line[0] = '\0';
	if (sscanf(line, "sleep %u", &seconds) == 1) {
		sleep(seconds);
	} else if (strncmp(line, "stop", 4) == 0) {
		wants_stop = true;
		umbel_wake(c->umbel); /* umbel_stop() is not for other threads */
	}
	dprintf(c->fd, "done\n");
	umbel_done(c->umbel, c->fd);
	free(c);
	return NULL;
}

static void serve(struct umbel *u, int fd, void *data)
{
	struct connection *c = malloc(sizeof(*c));
	pthread_t thread;

	if (!c)
		abort();
	*c = (struct connection){u, fd};
	if (pthread_create(&thread, NULL, talk, c) != 0)
		abort();
	pthread_detach(thread);
}

static void on_woken(struct umbel *u, const struct umbel_event *e, void *data)
{
	if (wants_stop)
		umbel_stop(u);
}

int main(int argc, char **argv)
{
	int before = 0, err;
	struct umbel *u = NULL;
	bool is_primary;

	signal(SIGPIPE, SIG_IGN);
	err = primary_open(argc, argv, &u, &before);
	if (err) {
		fprintf(stderr, "serve: %s\n", umbel_reason(NULL));
		return 1;
	}
	is_primary = umbel_is_primary(u);
	if (is_primary) {
		primary_watch(u);
		err = umbel_scale(u, argc > 2 ? atoi(argv[2]) : 2);
	} else {
		umbel_on(u, UMBEL_WOKEN, on_woken, NULL);
		if (argc > 3) {
			usleep((unsigned)atoi(argv[3]) * 1000);
			umbel_dispatch(u); /* what the primary has said meanwhile */
		}
		err = umbel_listen(u, argv[1], serve, NULL);
	}
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "serve: %d %s\n", err, umbel_reason(u));
	umbel_close(u);
	if (is_primary)
		primary_report(before);
	return err != 0;
}
