#include "admin/report.h"

#include "private.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLE_MS = 200 }; /* a shorter span says nothing: the kernel counts in ticks of 10 ms */

void report_init(struct report *r, const char *name, struct umbel *u)
{
	*r = (struct report){.name = name, .umbel = u};
	TAILQ_INIT(&r->slots);
}

void report_finish(struct report *r)
{
	struct slot_note *n;

	while ((n = TAILQ_FIRST(&r->slots))) {
		TAILQ_REMOVE(&r->slots, n, link);
		free(n);
	}
}

static struct slot_note *note_of(struct report *r, int slot)
{
	struct slot_note *n;

	TAILQ_FOREACH (n, &r->slots, link)
		if (n->slot == slot)
			return n;
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->slot = slot;
	TAILQ_INSERT_TAIL(&r->slots, n, link);
	return n;
}

void report_note_exit(struct report *r, int slot, const char *how)
{
	struct slot_note *n = note_of(r, slot);

	if (n)
		snprintf(n->last_exit, sizeof(n->last_exit), "%s", how);
}

const char *report_state_name(enum umbel_state state)
{
	static const char *const names[] = {
	    [UMBEL_STATE_STARTING] = "starting", [UMBEL_STATE_READY] = "ready",
	    [UMBEL_STATE_DRAINING] = "draining", [UMBEL_STATE_STOPPING] = "stopping",
	    [UMBEL_STATE_DEAD] = "dead",
	};

	return names[state];
}

/* ---- what the kernel knows of a process: proc(5) ---- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static int64_t resident_bytes(pid_t pid)
{
	char path[64];
	long pages = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*d %ld", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

static unsigned long long cpu_ticks(pid_t pid)
{
	char path[64], text[1024];
	unsigned long long user = 0, system = 0;
	const char *after_name;
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = '\0';
	/* The name may contain anything, a parenthesis too. */
	after_name = strrchr(text, ')');
	if (!after_name || sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
				  &user, &system) != 2)
		return 0;
	return user + system;
}

/* Of one CPU, since the last question, or since the start of the worker. */
static double cpu_percent(struct slot_note *n, pid_t pid, int64_t up_ms)
{
	unsigned long long ticks = cpu_ticks(pid);
	int64_t now = now_ms();

	if (n->sampled_pid != pid) {
		n->sampled_pid = pid;
		n->sampled_ticks = 0;
		n->sampled_ms = now - up_ms;
		n->cpu_percent = 0;
	}
	if (now - n->sampled_ms >= SAMPLE_MS) {
		n->cpu_percent = (double)(ticks - n->sampled_ticks) * 1000 /
				 (double)sysconf(_SC_CLK_TCK) * 100 / (double)(now - n->sampled_ms);
		n->sampled_ticks = ticks;
		n->sampled_ms = now;
	}
	return n->cpu_percent;
}

/* ---- status ---- */

static json_t *report_worker(struct report *r, const struct umbel_worker *w)
{
	struct slot_note *n = note_of(r, umbel_worker_slot(w));
	struct umbel_worker_info info;
	pid_t pid = umbel_worker_pid(w);

	private_worker_info(w, &info);
	if (!n)
		return NULL;
	/* What a worker has in hand only it knows; Node does not say. */
	return json_pack("{si si si ss si si sf sI sf ss s{sI sn si} ss?}", "slot",
			 umbel_worker_slot(w), "id", (int)umbel_worker_id(w), "pid", (int)pid, "state",
			 report_state_name(umbel_worker_state(w)), "generation", 1, "restarts",
			 (int)info.restarts, "uptime_s", (double)info.up_ms / 1000, "rss_bytes",
			 (json_int_t)resident_bytes(pid), "cpu_percent",
			 cpu_percent(n, pid, info.up_ms), "kind", info.kind, "connections", "handed",
			 (json_int_t)info.handed, "active", "queued", (int)info.queued, "last_exit",
			 n->last_exit[0] ? n->last_exit : NULL);
}

static void add_listener(const struct umbel_listener_info *info, void *data)
{
	json_array_append_new(data, json_pack("{ss ss si sI sI si}", "address", info->address, "policy",
					      "rr", "workers", (int)info->workers, "handed",
					      (json_int_t)info->handed, "skipped",
					      (json_int_t)info->skipped, "pending",
					      (int)info->pending));
}

static const char *state_of_app(const struct report *r, int ready, int total)
{
	if (r->stopping)
		return "stopping";
	return total > 0 && ready == total ? "ready" : "starting";
}

static const char *version(void)
{
	static char text[16];
	uint32_t v = umbel_version();

	snprintf(text, sizeof(text), "%u.%u.%u", v >> 16, v >> 8 & 255, v & 255);
	return text;
}

/* Where a worker of that slot goes: they are listed by slot, then by id. */
static size_t place_of(const json_t *workers, int slot)
{
	size_t place = json_array_size(workers);

	while (place > 0 && json_integer_value(json_object_get(json_array_get(workers, place - 1),
							       "slot")) > slot)
		place--;
	return place;
}

json_t *report_status(struct report *r)
{
	json_t *workers = json_array(), *listeners = json_array();
	const struct umbel_worker *w = NULL;
	int ready = 0, total = 0;

	while ((w = umbel_next(r->umbel, w ? umbel_worker_id(w) : 0))) {
		total++;
		ready += umbel_worker_state(w) == UMBEL_STATE_READY;
		json_array_insert_new(workers, place_of(workers, umbel_worker_slot(w)),
				      report_worker(r, w));
	}
	private_each_listener(r->umbel, add_listener, listeners);
	return json_pack("{ss si ss ss ss si so so}", "name", r->name, "pid", (int)getpid(), "version",
			 version(), "state", state_of_app(r, ready, total), "policy", "rr", "generation",
			 1, "listeners", listeners, "workers", workers);
}

/* ---- events ---- */

static const char *const event_names[UMBEL_EVENT_COUNT] = {
    [UMBEL_FORK] = "fork",       [UMBEL_ONLINE] = "online", [UMBEL_LISTENING] = "listening",
    [UMBEL_MESSAGE] = "message", [UMBEL_EXIT] = "exit",     [UMBEL_DISCONNECT] = "disconnect",
    [UMBEL_GONE] = "gone",       [UMBEL_EMPTY] = "empty",   [UMBEL_FAILED] = "failed",
};

static void add_details(json_t *event, const struct umbel_event *e)
{
	json_t *message;

	switch (e->type) {
	case UMBEL_LISTENING:
		json_object_set_new(event, "address", json_string(e->listening.address));
		break;
	case UMBEL_MESSAGE:
		/* What jansson cannot hold (a lone surrogate, 1e400) goes out as null. */
		message = json_loadb(e->message.json, e->message.len, JSON_DECODE_ANY | JSON_ALLOW_NUL,
				     NULL);
		json_object_set_new(event, "message", message ? message : json_null());
		break;
	case UMBEL_EXIT:
		json_object_set_new(event, "code",
				    e->exit.code >= 0 ? json_integer(e->exit.code) : json_null());
		json_object_set_new(event, "signal", e->exit.signal >= 0
							 ? json_string(sigabbrev_np(e->exit.signal))
							 : json_null());
		json_object_set_new(event, "asked", json_boolean(e->exit.asked));
		break;
	case UMBEL_FAILED:
		json_object_set_new(event, "why", json_string(e->result.why));
		break;
	default:
		break;
	}
}

json_t *report_event(const struct umbel_event *e)
{
	struct timespec now;
	json_t *event;

	if (!event_names[e->type])
		return NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	event = json_pack("{ss sI}", "event", event_names[e->type], "time_ms",
			  (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	if (!event)
		return NULL;
	if (e->worker) {
		json_object_set_new(event, "slot", json_integer(umbel_worker_slot(e->worker)));
		json_object_set_new(event, "id", json_integer(umbel_worker_id(e->worker)));
		json_object_set_new(event, "pid", json_integer(umbel_worker_pid(e->worker)));
	}
	add_details(event, e);
	return event;
}
