#include "life/ready.h"

#include "life/probe.h"
#include "life/worker.h"

void ready_serves(struct umbel_worker *w)
{
	/* A spare is asked when it has a slot. */
	if (w->crew->settings->ready_command && w->environment && !w->is_spare)
		probe_begin(w);
	else
		worker_happens(w, WORKER_SERVES);
}

bool ready_is_withheld(const struct umbel_settings *s)
{
	return s->wait_ready || s->ready_command;
}

/* Nobody sees these listen: the one has no channel, the other got its sockets from us. */
static bool is_unseen(enum kind kind)
{
	return kind == KIND_NONE || kind == KIND_LISTEN_FDS;
}

void ready_await(struct umbel_worker *w, bool limited)
{
	const struct umbel_settings *s = w->crew->settings;
	bool by_age = !s->wait_ready && (s->ready_after_ms || is_unseen(w->kind));

	/* Age makes ready for sure: no limit comes before. */
	if (limited && s->ready_ms && (!by_age || s->ready_command))
		worker_deadline(w, DEADLINE_READY, s->ready_ms);
	if (by_age && s->ready_command && is_unseen(w->kind))
		probe_begin(w);
	else if (by_age)
		worker_deadline(w, DEADLINE_AFTER, s->ready_after_ms ? s->ready_after_ms : s->min_up_ms);
}

void ready_listens(struct umbel_worker *w)
{
	if (!w->crew->settings->wait_ready && !w->waits_to_be_ready)
		ready_serves(w);
}

void ready_says(struct umbel_worker *w)
{
	w->waits_to_be_ready = false;
	ready_serves(w);
}

void ready_says_not_yet(struct umbel_worker *w)
{
	w->waits_to_be_ready = true;
	if (!w->was_ready)
		worker_set_takes(w, false);
}
