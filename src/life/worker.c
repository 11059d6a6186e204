#include "life/worker.h"

#include "base/fd.h"
#include "base/proc.h"
#include "life/activation.h"
#include "life/calls.h"
#include "life/death.h"
#include "life/dialogue.h"
#include "life/drain.h"
#include "life/intercept.h"
#include "life/probe.h"
#include "life/ready.h"
#include "program/generation.h"
#include "program/spawn.h"
#include "share/handoff.h"
#include "share/leftover.h"
#include "share/steering.h"
#include "wire/node.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t worker_now_ms(void)
{
	return uv_hrtime() / 1000000;
}

/* ---- memory: a worker lives until its handles are closed and its GONE was told ---- */

static void unreference(struct umbel_worker *w)
{
	if (--w->references > 0)
		return;
	generation_unref(w->generation);
	accounts_finish(&w->accounts);
	scoreboard_unmap(w->receiver.board);
	dialogue_forget(w);
	free(w->status);
	free(w);
}

static void on_handle_closed(uv_handle_t *handle)
{
	unreference(handle->data);
}

void worker_unref(struct umbel_worker *w)
{
	unreference(w);
}

static void on_gone_told(struct queued_event *e)
{
	struct umbel_worker *w = e->event.worker;

	for (int i = 0; i < UMBEL_STDIO_MAX; i++)
		fd_close(&w->stdio[i]);
	unreference(w);
}

/* ---- what is done to it ---- */

/* Libumbel's umbel_run() has returned by itself when the channel ends: its program may finish; a Node program
 * ends by itself, with its 'exit' handlers, unless a timer or a connection of its own keeps it. Marked
 * responses need a while until every keep-alive connection has had one. */
enum { LAST_STEPS_MS = 1000, NODE_LAST_STEPS_MS = 300, LAST_READS = 512, CUT_MS = 1500 };

/* Its group, and itself: it may have left the group. */
static void send_signal(const struct umbel_worker *w, int sig)
{
	if (kill(-w->receiver.pid, sig) < 0 || sig == SIGKILL)
		pidfd_send_signal(w->pidfd, sig, NULL, 0);
}

static void say_stop(struct umbel_worker *w)
{
	const struct umbel_settings *s = w->crew->settings;

	if (s->signal_first && s->stop_message &&
	    dialogue_send_user(w, s->stop_message, strlen(s->stop_message), -1) == 0)
		return;
	send_signal(w, s->stop_signal);
	send_signal(w, SIGCONT); /* one that is stopped would never hear of it */
}

static void take_no_more(struct umbel_worker *w)
{
	static const enum worker_deadline over[] = {DEADLINE_READY, DEADLINE_AFTER, DEADLINE_PROOF,
						    DEADLINE_SOAK, DEADLINE_AGE};

	for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++)
		w->deadlines[over[i]] = 0;
	probe_end(w);
	sharing_leave_all(&w->receiver);
	if (!w->deadlines[DEADLINE_GRACE])
		worker_deadline(w, DEADLINE_GRACE, w->crew->settings->grace_ms);
}

static void action_nothing(struct umbel_worker *w)
{
}

static void action_tell_ready(struct umbel_worker *w)
{
	w->was_ready = true;
	w->crew->events->settled = true;
	w->ready_ms = worker_now_ms();
	probe_end(w);
	worker_no_deadline(w, DEADLINE_READY);
	worker_no_deadline(w, DEADLINE_AFTER);
	worker_deadline(w, DEADLINE_PROOF, w->crew->settings->min_up_ms);
	worker_deadline(w, DEADLINE_SOAK, w->crew->settings->soak_ms);
	activation_ready(w);
	events_add(w->crew->events, UMBEL_READY, w, "", 0);
	w->crew->tells->ready(w);
}

static void action_hold(struct umbel_worker *w)
{
	w->crew->tells->held(w);
}

static void action_limit(struct umbel_worker *w)
{
	take_no_more(w);
	w->crew->tells->leaves(w);
}

static void action_drain(struct umbel_worker *w)
{
	bool is_deaf = !w->online || !w->receiver.connected;

	if (is_deaf && calls_have_sockets(w))
		drain_begin(w); /* this first: it looks at what it serves */
	take_no_more(w);
	w->drains_ms = worker_now_ms();
	w->reads_alone = sharing_retire_alone(&w->receiver);
	if (w->receiver.has_preload) {
		receiver_send(&w->receiver, NODE_DRAIN_TEXT, strlen(NODE_DRAIN_TEXT), -1, 0);
		worker_deadline(w, DEADLINE_CUT, CUT_MS);
	}
	if (!w->drain)
		dialogue_disconnect_when_idle(w);
}

static void action_signal(struct umbel_worker *w)
{
	drain_end(w);
	take_no_more(w);
	if (w->told_disconnect && w->receiver.is_libumbel)
		worker_deadline(w, DEADLINE_SIGNAL, LAST_STEPS_MS);
	else if (w->told_disconnect && w->kind == KIND_NODE)
		worker_deadline(w, DEADLINE_SIGNAL, NODE_LAST_STEPS_MS);
	else
		say_stop(w);
}

static void action_kill(struct umbel_worker *w)
{
	w->killed = true;
	drain_end(w);
	probe_end(w);
	send_signal(w, SIGKILL);
}

static void action_bury(struct umbel_worker *w)
{
	drain_end(w);
	probe_end(w);
	memset(w->deadlines, 0, sizeof(w->deadlines));
	uv_timer_stop(&w->timer);
}

void worker_happens(struct umbel_worker *w, enum worker_event event)
{
	static void (*const actions[WORKER_ACTIONS])(struct umbel_worker *) = {
	    [WORKER_NOTHING] = action_nothing, [WORKER_TELL_READY] = action_tell_ready,
	    [WORKER_HOLD] = action_hold,     [WORKER_DRAIN] = action_drain,
	    [WORKER_LIMIT] = action_limit,     [WORKER_SIGNAL] = action_signal,
	    [WORKER_KILL] = action_kill,       [WORKER_BURY] = action_bury,
	};
	struct worker_step step;

	if (w->is_spare && event == WORKER_SERVES) { /* it has nobody to serve yet */
		w->serves = true;
		event = WORKER_HELD;
	}
	if (w->is_spare && event == WORKER_LEAVES) /* nor has anything to finish */
		event = WORKER_END;
	step = life_of_worker(w->state, event);
	w->state = step.next;
	actions[step.action](w);
}

void worker_ask(struct umbel_worker *w)
{
	/* One that never spoke would not understand, and serves nobody, unless it has sockets. */
	bool is_deaf = !w->online || !w->receiver.connected;
	bool serves = calls_have_sockets(w) && w->state != UMBEL_STATE_STARTING;
	bool by_signal = w->crew->settings->signal_first || (is_deaf && !serves);

	w->receiver.asked = w->asked_by_us = true;
	worker_happens(w, by_signal ? WORKER_DISMISS : WORKER_ASK);
}

void worker_leaves(struct umbel_worker *w)
{
	w->receiver.asked = true;
	worker_happens(w, WORKER_LEAVES);
	sharing_leave_all(&w->receiver);
}

void worker_set_takes(struct umbel_worker *w, bool takes)
{
	if (w->receiver.takes != takes) {
		w->receiver.takes = takes;
		steering_update_all(&w->crew->sharing);
	}
	if (takes)
		sharing_resume(&w->crew->sharing);
}

/* ---- deadlines ---- */

static void arm(struct umbel_worker *w);

static void on_deadline(struct umbel_worker *w, enum worker_deadline which)
{
	switch (which) {
	case DEADLINE_READY:
		w->late = true;
		worker_happens(w, WORKER_LATE);
		break;
	case DEADLINE_AFTER:
		ready_listens(w);
		break;
	case DEADLINE_PROOF:
		w->crew->tells->proved(w);
		break;
	case DEADLINE_SOAK:
		w->soaked = true;
		w->crew->tells->soaked(w);
		break;
	case DEADLINE_PARTED:
		worker_happens(w, WORKER_LEAVES);
		break;
	case DEADLINE_CUT:
		dialogue_disconnect_when_idle(w);
		break;
	case DEADLINE_SIGNAL:
		if (w->drain)
			worker_happens(w, WORKER_DRAINED);
		else
			say_stop(w);
		break;
	case DEADLINE_GRACE:
		worker_note(w, "kill", "pid %d did not leave within its grace: SIGKILL", (int)w->receiver.pid);
		worker_happens(w, WORKER_OVERDUE);
		break;
	case DEADLINE_SOCKETS:
		dialogue_tell_closed(w);
		break;
	case DEADLINE_OFFER:
		activation_look(w);
		break;
	case DEADLINE_AGE:
	case DEADLINES:
		w->crew->tells->is_due(w);
		break;
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct umbel_worker *w = timer->data;
	uint64_t now = uv_now(w->crew->loop);

	for (int i = 0; i < DEADLINES; i++)
		if (w->deadlines[i] && w->deadlines[i] <= now) {
			w->deadlines[i] = 0;
			on_deadline(w, (enum worker_deadline)i);
		}
	if (w->state != UMBEL_STATE_DEAD)
		arm(w);
}

static void arm(struct umbel_worker *w)
{
	uint64_t now = uv_now(w->crew->loop), first = 0;

	for (int i = 0; i < DEADLINES; i++)
		if (w->deadlines[i] && (!first || w->deadlines[i] < first))
			first = w->deadlines[i];
	if (first)
		uv_timer_start(&w->timer, on_timer, first > now ? first - now : 0, 0);
	else
		uv_timer_stop(&w->timer);
}

void worker_deadline(struct umbel_worker *w, enum worker_deadline which, uint64_t ms)
{
	uv_update_time(w->crew->loop); /* the last turn may be long ago */
	w->deadlines[which] = uv_now(w->crew->loop) + ms;
	arm(w);
}

void worker_no_deadline(struct umbel_worker *w, enum worker_deadline which)
{
	w->deadlines[which] = 0;
	arm(w);
}

/* ---- its end ---- */

/* A program that knows nothing of channels. */
static bool is_silent(const struct umbel_worker *w)
{
	return !w->online && w->state != UMBEL_STATE_DEAD && (w->kind == KIND_INTERCEPT || w->kind == KIND_LISTEN_FDS);
}

/* The channel is over, the process perhaps not. */
void worker_part(struct umbel_worker *w)
{
	if (!channel_is_open(&w->receiver.channel))
		return;
	uv_close((uv_handle_t *)&w->channel_poll, on_handle_closed);
	channel_close(&w->receiver.channel);
	if (w->receiver.connected && is_silent(w)) {
		w->receiver.connected = false; /* it closes what it does not know; its sockets are its own */
	} else if (w->receiver.connected) {
		w->receiver.connected = false;
		sharing_leave_all(&w->receiver);
		handoff_give_back_all(&w->receiver);
		events_add(w->crew->events, UMBEL_DISCONNECT, w, "", 0);
	}
	if (!w->online || w->state == UMBEL_STATE_DEAD)
		return;
	/* Drained: a timer or a connection to a database would keep it alive for ever. One that was not
	 * asked is mostly dead, and its pidfd is about to say so: only if it lives on it has left. */
	if (w->asked_by_us)
		worker_happens(w, WORKER_DRAINED);
	else
		worker_deadline(w, DEADLINE_PARTED, LAST_STEPS_MS);
}

void worker_tell_failed(struct umbel_worker *w, int error, const char *why)
{
	if (w->is_spare)
		events_add_note(w->crew->events, 0, "spare", "pid %d: %s", (int)w->receiver.pid, why);
	else
		events_add_failed(w->crew->events, w, error, why);
}

/* What it said before it died still counts. */
static void read_the_rest(struct umbel_worker *w)
{
	/* Bounded: a grandchild may hold its end and go on writing. The socket holds fewer messages. */
	for (int i = 0; i < LAST_READS && channel_is_open(&w->receiver.channel); i++)
		if (channel_read(&w->receiver.channel) <= 0 || dialogue_read_lines(w) < 0)
			break;
	notify_read(w);
	worker_part(w);
}

static void finish(struct umbel_worker *w)
{
	struct queued_event *e;

	TAILQ_REMOVE(&w->crew->workers, w, link);
	receiver_leave(&w->receiver);
	uv_close((uv_handle_t *)&w->death, on_handle_closed);
	uv_close((uv_handle_t *)&w->timer, on_handle_closed);
	fd_close(&w->pidfd);
	notify_close(w);
	intercept_end(w);
	sharing_leave_all(&w->receiver);
	sharing_release(&w->receiver);
	scoreboard_unmap(w->receiver.board);
	w->receiver.board = NULL;
	e = events_add(w->crew->events, UMBEL_GONE, w, "", 0);
	if (e)
		e->told = on_gone_told;
}

static bool is_dead(struct umbel_worker *w, siginfo_t *info, int flags)
{
	info->si_pid = 0;
	if (waitid(P_PIDFD, (id_t)w->pidfd, info, WEXITED | flags) == 0)
		return info->si_pid == w->receiver.pid;
	/* Reaped by somebody else in this process, or SIGCHLD is ignored: how it ended is lost. */
	info->si_code = 0;
	return errno == ECHILD;
}

/* Which it leaves behind has as long as it had itself. */
static struct remains look_what_it_leaves(const struct umbel_worker *w)
{
	uint64_t now = uv_now(w->crew->loop), until = w->deadlines[DEADLINE_GRACE];

	return leftover_look(&w->receiver, w->receiver.asked && !w->killed && until > now ? until - now : 0);
}

static void on_death(uv_poll_t *poll, int status, int events)
{
	struct umbel_worker *w = poll->data;
	struct crew *crew = w->crew;
	struct remains remains;
	struct death d;
	siginfo_t info;

	if (!is_dead(w, &info, WNOHANG | WNOWAIT))
		return;
	/* Its group goes with it, while its number is still taken: what a launcher leaves behind would
	 * serve on beside the successor. */
	kill(-w->receiver.pid, SIGKILL);
	is_dead(w, &info, WNOHANG);
	remains = look_what_it_leaves(w);
	worker_happens(w, WORKER_DIED); /* this first: its number may be another's from now on */
	if (info.si_code == CLD_EXITED && info.si_status == 0 && !w->receiver.asked)
		w->went_away = leftover_end(&remains, true) > 0;
	read_the_rest(w);
	d = death_of(w, &info);
	death_tell(w, &info, &d);
	finish(w);
	sharing_resume(&crew->sharing); /* before a successor is forked, which would hold copies for a moment */
	crew->tells->dead(w, &d);
	leftover_end(&remains, false); /* after its successor is under way: it takes a while */
}

void worker_destroy(struct umbel_worker *w)
{
	struct remains remains = look_what_it_leaves(w);
	siginfo_t info;

	send_signal(w, SIGKILL);
	is_dead(w, &info, 0);
	worker_happens(w, WORKER_DIED);
	worker_part(w);
	finish(w);
	leftover_end(&remains, false);
}

/* ---- its beginning, after start.c ---- */

void worker_attach(struct umbel_worker *w, int channel)
{
	struct crew *crew = w->crew;

	channel_open(&w->receiver.channel, channel, crew->settings->max_message, crew->settings->max_queue);
	uv_poll_init(crew->loop, &w->channel_poll, channel);
	uv_poll_init(crew->loop, &w->death, w->pidfd);
	uv_timer_init(crew->loop, &w->timer);
	w->channel_poll.data = w->death.data = w->timer.data = w;
	w->references = 4 + notify_begin(w); /* three handles, perhaps one more, and GONE */
	uv_poll_start(&w->channel_poll, UV_READABLE, dialogue_on_channel);
	uv_poll_start(&w->death, UV_READABLE, on_death);
	intercept_begin(w);
	TAILQ_INSERT_TAIL(&crew->workers, w, link);
	receiver_join(&w->receiver);
	events_add(crew->events, UMBEL_FORK, w, "", 0);
	activation_begin(w);
}
