/* Workers say "PID SLOT" to every connection; as its own primary it keeps one, and spares.
 *
 *     spares ADDRESS [SPARES]     the primary says what happens, of spares with slot 0
 *
 * SIGUSR1: a spare is asked to leave. SIGUSR2: everybody is. */
#include "primary.h"

#include <signal.h>
#include <unistd.h>

static struct umbel *cluster;
static volatile sig_atomic_t last_signal;

static void on_signal(int sig)
{
	last_signal = sig;
	umbel_wake(cluster);
}

static void on_woken(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct umbel_worker *w = NULL;

	if (last_signal == SIGUSR2) {
		umbel_disconnect(u, NULL);
		return;
	}
	while ((w = umbel_next(u, w ? umbel_worker_id(w) : 0)))
		if (umbel_worker_state(w) == UMBEL_STATE_HELD) {
			umbel_disconnect(u, w);
			return;
		}
}

static void on_ready(struct umbel *u, const struct umbel_event *e, void *data)
{
	primary_say(e, "ready");
}

static void on_gone(struct umbel *u, const struct umbel_event *e, void *data)
{
	primary_say(e, "gone");
}

static void on_empty(struct umbel *u, const struct umbel_event *e, void *data)
{
	puts("empty");
	fflush(stdout);
}

static void serve(struct umbel *u, int fd, void *data)
{
	dprintf(fd, "%d %d%s\n", (int)getpid(), umbel_slot(u), getenv("UMBEL_SLOT") ? " environment" : "");
	umbel_done(u, fd);
}

static int be_primary(struct umbel *u, uint32_t spares)
{
	struct umbel_settings s = *umbel_settings(u);

	s.spares = spares;
	cluster = u;
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	primary_watch(u);
	umbel_on(u, UMBEL_READY, on_ready, NULL);
	umbel_on(u, UMBEL_GONE, on_gone, NULL);
	umbel_on(u, UMBEL_EMPTY, on_empty, NULL);
	umbel_on(u, UMBEL_WOKEN, on_woken, NULL);
	if (umbel_setup(u, &s) < 0)
		return -1;
	return umbel_scale(u, 1);
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	int before = 0, err;
	bool is_primary;

	signal(SIGPIPE, SIG_IGN);
	err = primary_open(argc, argv, &u, &before);
	is_primary = !err && umbel_is_primary(u);
	if (!err)
		err = is_primary ? be_primary(u, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0)
				 : umbel_listen(u, argv[1], serve, NULL);
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "spares: %s\n", umbel_reason(u));
	umbel_close(u);
	if (is_primary)
		primary_report(before);
	return err != 0;
}
