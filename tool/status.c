/* status: the verb. One app: its listeners and workers. */
#include "client.h"
#include "tool.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static long long number(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

static const char *text(const json_t *object, const char *member)
{
	const char *value = clean_text(object, member);

	return value[0] ? value : "-";
}

/* "-": nobody knows. */
static const char *count_text(const json_t *object, const char *member, char out[24])
{
	const json_t *count = json_object_get(object, member);

	if (json_is_integer(count))
		snprintf(out, 24, "%lld", (long long)json_integer_value(count));
	else
		snprintf(out, 24, "-");
	return out;
}

static void print_time(double seconds, char *out, size_t size)
{
	long s = (long)seconds;

	if (s < 60)
		snprintf(out, size, "%.1fs", seconds);
	else if (s < 3600)
		snprintf(out, size, "%ldm%02lds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
	else
		snprintf(out, size, "%ldd%02ldh", s / 86400, s / 3600 % 24);
}

static void print_worker(const json_t *w)
{
	const json_t *connections = json_object_get(w, "connections");
	const char *state = text(w, "state");
	char up[32], handed[24];

	print_time(json_number_value(json_object_get(w, "uptime_s")), up, sizeof(up));
	if (strcmp(state, "ready") == 0 && !json_is_true(json_object_get(w, "taking")))
		state = "waiting"; /* ready, and given no connection: in a reload */
	printf("%4lld %8lld  %-8s %4lld %9s %5.1f%% %6.1fM %8lld %9s %6lld  %s\n", number(w, "slot"),
	       number(w, "pid"), state, number(w, "generation"), up,
	       json_number_value(json_object_get(w, "cpu_percent")),
	       (double)number(w, "rss_bytes") / (1 << 20), number(w, "restarts"),
	       count_text(connections, "handed", handed), number(connections, "queued"), text(w, "last_exit"));
	if (json_is_string(json_object_get(w, "status")))
		printf("%13s  %s\n", "", text(w, "status"));
}

static void print_spare(const json_t *w)
{
	char up[32];

	print_time(json_number_value(json_object_get(w, "uptime_s")), up, sizeof(up));
	printf("%4s %8lld  %-8s %4lld %9s %6s %6.1fM  spare\n", "-", number(w, "pid"), text(w, "state"),
	       number(w, "generation"), up, "", (double)number(w, "rss_bytes") / (1 << 20));
}

/* Only those that their workers do not show: nobody is there. */
static void print_slot(const json_t *slot)
{
	const char *state = text(slot, "state");

	if (strcmp(state, "backoff") == 0)
		printf("%4lld %8s  %-8s next start in %.1f s, after %lld crashes in a row\n",
		       number(slot, "slot"), "-", state, (double)number(slot, "next_start_ms") / 1000,
		       number(slot, "crashes"));
	else if (strcmp(state, "failed") == 0)
		printf("%4lld %8s  %-8s 'umbel why' says why; tried again by reload and scale\n",
		       number(slot, "slot"), "-", state);
}

static void print_reload(const json_t *reload)
{
	const json_t *left = json_object_get(reload, "hold_left_ms");

	if (!json_is_object(reload))
		return;
	printf("reload to generation %lld: %s", number(reload, "generation"), text(reload, "phase"));
	if (json_is_integer(left))
		printf(", for another %.1f s", (double)json_integer_value(left) / 1000);
	putchar('\n');
}

/* ---- listeners ---- */

static long long pid_of(const json_t *workers, long long id)
{
	const json_t *w;
	size_t i;

	json_array_foreach (workers, i, w)
		if (number(w, "id") == id)
			return number(w, "pid");
	return 0;
}

static bool is_udp(const json_t *listener)
{
	return strncmp(text(listener, "address"), "udp:", 4) == 0;
}

/* Not for one worker, not where nothing is known of each, and not for what has no connections. */
static void print_seats(const json_t *listener, const json_t *workers)
{
	static const struct {
		const char *name, *head;
		int width;
	} columns[] = {{"handed", "HANDED", 9}, {"active", "ACTIVE", 7}, {"queued", "QUEUED", 7},
		       {"skipped", "SKIPPED", 8}, {"refused", "REFUSED", 8}};
	const json_t *seats = json_object_get(listener, "slots"), *seat;
	char count[24];
	size_t i, k, count_of_columns = sizeof(columns) / sizeof(columns[0]);

	if (json_array_size(seats) < 2 || !json_is_integer(json_object_get(listener, "handed")) || is_udp(listener))
		return;
	printf("  %4s %8s", "SLOT", "PID");
	for (k = 0; k < count_of_columns; k++)
		printf(" %*s", columns[k].width, columns[k].head);
	putchar('\n');
	json_array_foreach (seats, i, seat) {
		printf("  %4lld %8lld", number(seat, "slot"), pid_of(workers, number(seat, "id")));
		for (k = 0; k < count_of_columns; k++)
			printf(" %*s", columns[k].width, count_text(seat, columns[k].name, count));
		puts(json_is_true(json_object_get(seat, "steered")) ? "  steered" : "");
	}
}

/* Whoever pins clients by their address has to know when they all have the same. */
static void warn_of_proxy(const json_t *listener)
{
	const json_t *clients = json_object_get(listener, "clients");
	long long all = number(clients, "connections"), most = number(clients, "busiest");

	if (strcmp(text(listener, "policy"), "sticky") == 0 && all >= 20 && most * 2 > all)
		printf("warning: %lld %% of the connections come from %s (a proxy?): sticky sends them all to one "
		       "slot; see docs/STATE.md\n",
		       (most * 100 + all / 2) / all, text(clients, "address"));
}

static void print_listener(const json_t *listener, const json_t *workers)
{
	const char *const more[][2] = {{"handed", "handed over"},
				       {"queued", is_udp(listener) ? "bytes in the kernel's queue"
								   : "in the kernel's queue"},
				       {"pending", "wait for another worker"}};

	printf("%s: %s, %lld worker%s", text(listener, "address"), text(listener, "policy"),
	       number(listener, "workers"), plural(number(listener, "workers")));
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		if (number(listener, more[i][0]) > 0)
			printf(", %lld %s", number(listener, more[i][0]), more[i][1]);
	putchar('\n');
	print_seats(listener, workers);
	warn_of_proxy(listener);
}

/* What all listeners have; if they differ, or there is none: of those to come. */
static const char *policy_of(const json_t *status)
{
	const json_t *listeners = json_object_get(status, "listeners"), *first = json_array_get(listeners, 0), *each;
	size_t i;

	json_array_foreach (listeners, i, each)
		if (!json_equal(json_object_get(each, "policy"), json_object_get(first, "policy")))
			return text(status, "policy");
	return text(first ? first : status, "policy");
}

static void print_status(const json_t *status)
{
	const json_t *each;
	size_t i;

	printf("%s: %s, pid %lld, policy %s, umbel %s\n", text(status, "name"), text(status, "state"),
	       number(status, "pid"), policy_of(status), text(status, "version"));
	printf("share %s: %s\n", text(status, "share"), text(status, "share_why"));
	json_array_foreach (json_object_get(status, "listeners"), i, each)
		print_listener(each, json_object_get(status, "workers"));
	print_reload(json_object_get(status, "reload"));
	printf("\n%4s %8s  %-8s %4s %9s %6s %7s %8s %9s %6s  %s\n", "SLOT", "PID", "STATE", "GEN", "UP",
	       "CPU", "MEMORY", "RESTARTS", "HANDED", "QUEUED", "LAST EXIT");
	json_array_foreach (json_object_get(status, "workers"), i, each)
		print_worker(each);
	json_array_foreach (json_object_get(status, "spares"), i, each)
		print_spare(each);
	json_array_foreach (json_object_get(status, "slots"), i, each)
		print_slot(each);
}

static int status_verb(int argc, char **argv)
{
	struct channel channel;
	json_t *answer, *status;
	int json = 0, result = parse_flags(argc, argv, json_flag, &json, 1, 0);

	if (result)
		return result;
	result = client_ask_app(argv[optind], "{\"request\":\"status\"}", &channel, &answer);
	if (result)
		return result;
	channel_close(&channel);
	status = json_object_get(answer, "status");
	if (json) {
		json_dumpf(status, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_status(status);
	}
	json_decref(answer);
	return EXIT_DONE;
}

const struct verb verb_status = {"status", status_verb, "status NAME [--json]",
				 "shows the listeners and workers of an app"};
