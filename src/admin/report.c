#include "admin/report.h"

#include "admin/listeners.h"
#include "base/proc.h"
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
	*r = (struct report){.name = name, .umbel = u, .scaled_to = -1};
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

void report_note_exit(struct report *r, int slot, const char *how, bool bad)
{
	struct slot_note *n = note_of(r, slot);

	if (!n)
		return;
	snprintf(n->last_exit, sizeof(n->last_exit), "%s", how);
	n->bad_exit = bad;
}

bool report_any_bad(const struct report *r)
{
	const struct slot_note *n;

	TAILQ_FOREACH (n, &r->slots, link)
		if (n->bad_exit)
			return true;
	return false;
}

const char *report_state_name(enum umbel_state state)
{
	static const char *const names[] = {
	    [UMBEL_STATE_STARTING] = "starting", [UMBEL_STATE_HELD] = "held",
	    [UMBEL_STATE_READY] = "ready",
	    [UMBEL_STATE_DRAINING] = "draining", [UMBEL_STATE_STOPPING] = "stopping",
	    [UMBEL_STATE_DEAD] = "dead",
	};

	return names[state];
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Of one CPU, since the last question, or since the start of the worker. */
static double cpu_percent(struct slot_note *n, pid_t pid, int64_t up_ms)
{
	uint64_t ticks = proc_cpu_ticks(pid);
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
	return json_pack("{si si si ss sb si si sf sI sf ss s{so so si} ss? so}", "slot",
			 umbel_worker_slot(w), "id", (int)umbel_worker_id(w), "pid", (int)pid, "state",
			 report_state_name(umbel_worker_state(w)), "taking", info.takes, "generation",
			 (int)umbel_worker_generation(w), "restarts", (int)info.restarts, "uptime_s",
			 (double)info.up_ms / 1000, "rss_bytes",
			 (json_int_t)proc_resident_bytes(pid), "cpu_percent",
			 cpu_percent(n, pid, info.up_ms), "kind", info.kind, "connections", "handed",
			 info.counted ? json_integer((json_int_t)info.handed) : json_null(), "active",
			 info.active < 0 ? json_null() : json_integer(info.active), "queued",
			 (int)info.queued, "last_exit", n->last_exit[0] ? n->last_exit : NULL, "status",
			 info.status ? report_text(info.status) : json_null());
}

static json_t *report_spare(const struct umbel_worker *w)
{
	struct umbel_worker_info info;
	pid_t pid = umbel_worker_pid(w);

	private_worker_info(w, &info);
	return json_pack("{si si ss si sf sI ss}", "id", (int)umbel_worker_id(w), "pid", (int)pid, "state",
			 report_state_name(umbel_worker_state(w)), "generation", (int)umbel_worker_generation(w),
			 "uptime_s", (double)info.up_ms / 1000, "rss_bytes", (json_int_t)proc_resident_bytes(pid),
			 "kind", info.kind);
}

static void count_failed(const struct umbel_slot_info *info, void *data)
{
	*(int *)data += strcmp(info->state, "failed") == 0;
}

static const char *state_of_app(const struct report *r, int ready, int total)
{
	int failed = 0;

	if (r->stopping)
		return "stopping";
	if (r->lame_duck)
		return "lame duck";
	private_each_slot(r->umbel, count_failed, &failed);
	if (total == 0 && private_wanted(r->umbel) == failed)
		return failed ? "failed" : "empty";
	if (failed)
		return "degraded";
	return ready > 0 && ready >= private_wanted(r->umbel) ? "ready" : "starting";
}

static const char *version(void)
{
	static char text[16];
	uint32_t v = umbel_version();

	snprintf(text, sizeof(text), "%u.%u.%u", v >> 16, v >> 8 & 255, v & 255);
	return text;
}

size_t report_place_of(const json_t *array, int slot)
{
	size_t place = json_array_size(array);

	while (place > 0 && json_integer_value(json_object_get(json_array_get(array, place - 1), "slot")) > slot)
		place--;
	return place;
}

static void add_slot(const struct umbel_slot_info *info, void *data)
{
	json_t *slot = json_pack("{si ss si si}", "slot", info->slot, "state", info->state, "restarts",
				 (int)info->restarts, "crashes", (int)info->crashes);

	json_object_set_new(slot, "next_start_ms",
			    info->next_start_ms < 0 ? json_null() : json_integer(info->next_start_ms));
	json_array_append_new(data, slot);
}

static json_t *report_reload(const struct umbel *u)
{
	struct umbel_reload_info info;
	json_t *reload;

	private_reload_info(u, &info);
	if (!info.phase)
		return json_null();
	reload = json_pack("{ss sI}", "phase", info.phase, "generation", (json_int_t)info.generation);
	json_object_set_new(reload, "hold_left_ms",
			    info.hold_left_ms < 0 ? json_null() : json_integer(info.hold_left_ms));
	return reload;
}

json_t *report_status(struct report *r)
{
	json_t *workers = json_array(), *spares = json_array(), *slots = json_array();
	const struct umbel_worker *w = NULL;
	int ready = 0, total = 0;
	struct umbel_kind_info kind;

	private_kind_info(r->umbel, &kind);
	while ((w = umbel_next(r->umbel, w ? umbel_worker_id(w) : 0))) {
		if (umbel_worker_slot(w) == 0) {
			json_array_append_new(spares, report_spare(w));
			continue;
		}
		total++;
		ready += umbel_worker_state(w) == UMBEL_STATE_READY;
		json_array_insert_new(workers, report_place_of(workers, umbel_worker_slot(w)),
				      report_worker(r, w));
	}
	private_each_slot(r->umbel, add_slot, slots);
	return json_pack("{ss si ss ss sb ss ss ss si so so so so so}", "name", r->name, "pid", (int)getpid(),
			 "version", version(), "state", state_of_app(r, ready, total), "ready",
			 ready > 0 && !r->stopping && !r->lame_duck, "policy", private_policy(r->umbel), "share",
			 kind.share, "share_why", kind.why, "generation", (int)private_generation(r->umbel), "reload",
			 report_reload(r->umbel), "listeners", listeners_report(r->umbel), "slots", slots, "workers",
			 workers, "spares", spares);
}

/* ---- events ---- */

static const char *const event_names[UMBEL_EVENT_COUNT] = {
    [UMBEL_FORK] = "fork",       [UMBEL_ONLINE] = "online", [UMBEL_LISTENING] = "listening",
    [UMBEL_MESSAGE] = "message", [UMBEL_EXIT] = "exit",     [UMBEL_DISCONNECT] = "disconnect",
    [UMBEL_GONE] = "gone",       [UMBEL_EMPTY] = "empty",   [UMBEL_FAILED] = "failed",
    [UMBEL_READY] = "ready",     [UMBEL_RELOADED] = "reloaded",
};

static void add_details(json_t *event, const struct umbel_event *e)
{
	json_t *message;

	switch (e->type) {
	case UMBEL_LISTENING:
		json_object_set_new(event, "address", report_text(e->listening.address));
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
		json_object_set_new(event, "core", json_boolean(e->exit.core));
		json_object_set_new(event, "out_of_memory", json_boolean(e->exit.out_of_memory));
		json_object_set_new(event, "late", json_boolean(e->exit.late));
		json_object_set_new(event, "up_ms", json_integer(e->exit.up_ms));
		json_object_set_new(event, "in_service", json_integer(e->exit.in_service));
		break;
	case UMBEL_RELOADED:
		json_object_set_new(event, "error", json_integer(e->result.error));
		json_object_set_new(event, "generation", json_integer(e->result.generation));
		json_object_set_new(event, "why", report_text(e->result.why));
		break;
	case UMBEL_FAILED:
		json_object_set_new(event, "why", report_text(e->result.why));
		break;
	default:
		break;
	}
}

json_t *report_text(const char *text)
{
	json_t *string = json_string(text);
	char *copy = string ? NULL : strdup(text);

	for (char *p = copy; p && *p; p++)
		if (*p & 0x80)
			*p = '?';
	if (copy)
		string = json_string(copy);
	free(copy);
	return string;
}

static json_t *event_named(const char *name)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return json_pack("{ss sI}", "event", name, "time_ms",
			 (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

json_t *report_note(int slot, const char *what, const char *text)
{
	json_t *event = event_named("decision");

	json_object_set_new(event, "what", json_string(what));
	json_object_set_new(event, "slot", json_integer(slot));
	json_object_set_new(event, "text", report_text(text));
	return event;
}

json_t *report_event(const struct umbel_event *e)
{
	json_t *event = event_names[e->type] ? event_named(event_names[e->type]) : NULL;

	if (!event)
		return NULL;
	if (e->worker) {
		json_object_set_new(event, "slot", json_integer(umbel_worker_slot(e->worker))); /* 0: a spare */
		json_object_set_new(event, "id", json_integer(umbel_worker_id(e->worker)));
		json_object_set_new(event, "pid", json_integer(umbel_worker_pid(e->worker)));
		json_object_set_new(event, "generation",
				    json_integer(umbel_worker_generation(e->worker)));
	}
	add_details(event, e);
	return event;
}
