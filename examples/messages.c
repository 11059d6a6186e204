/* messages: workers report what they have served, the primary adds it up. Once a second, if something
 * has changed, it prints the total of each worker.
 *
 *     messages [PORT]     then a few times: nc localhost 8000 */
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <umbel.h>

static struct umbel *u;
static unsigned unreported; /* in a worker */

/* Also when there is room again, after an -EAGAIN. */
static void report(struct umbel *umbel, const struct umbel_event *e, void *data)
{
	while (unreported > 0 && umbel_send(u, NULL, "\"served\"", 8, -1) == 0)
		unreported--;
}

static void serve(struct umbel *umbel, int fd, void *data)
{
	dprintf(fd, "hello from worker %d\n", umbel_slot(u));
	umbel_done(u, fd);
	unreported++;
	report(u, NULL, NULL);
}

/* In the primary. */
static unsigned long served[1025]; /* by slot: the successor of a worker has it too */
static bool changed;

static void add(struct umbel *umbel, const struct umbel_event *e, void *data)
{
	/* e->message.json[e->message.len] is "served", with its quotes: any JSON value can be sent. */
	served[umbel_worker_slot(e->worker)]++;
	changed = true;
}

static void print(struct umbel *umbel, const struct umbel_event *e, void *data)
{
	for (int slot = 1; changed && slot <= 1024; slot++)
		if (served[slot])
			printf("worker %d: %lu\n", slot, served[slot]);
	changed = false;
	fflush(stdout);
}

static void on_alarm(int sig)
{
	umbel_wake(u); /* what a signal handler may do; umbel says UMBEL_WOKEN when it is safe */
}

int main(int argc, char **argv)
{
	struct itimerval each_second = {{1, 0}, {1, 0}};
	char address[64];
	int err = umbel_open(argc, argv, &u);

	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, on_alarm);
	snprintf(address, sizeof(address), "tcp://:%s", argc > 1 ? argv[1] : "8000");
	if (!err && umbel_is_primary(u)) {
		umbel_on(u, UMBEL_MESSAGE, add, NULL);
		umbel_on(u, UMBEL_WOKEN, print, NULL);
		setitimer(ITIMER_REAL, &each_second, NULL);
		err = umbel_scale(u, umbel_parallelism());
	} else if (!err) {
		umbel_on(u, UMBEL_WRITABLE, report, NULL);
		err = umbel_listen(u, address, serve, NULL);
	}
	if (!err)
		err = umbel_run(u);
	signal(SIGALRM, SIG_IGN); /* u is about to go */
	if (err)
		fprintf(stderr, "messages: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
