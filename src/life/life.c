#include "life/life.h"

#include <signal.h>
#include <stddef.h>

/* ---- the tables: a cell that is not written down changes nothing ---- */

#define WORKER(state) UMBEL_STATE_##state
#define STATES (UMBEL_STATE_DEAD + 1)

/* `any` tells a written cell (true) from an unwritten one. */
static const struct {
	bool any;
	struct worker_step step;
} worker_table[STATES][WORKER_EVENTS] = {
    [WORKER(STARTING)] = {
        [WORKER_SERVES] = {true, {WORKER(READY), WORKER_TELL_READY}},
        [WORKER_HELD] = {true, {WORKER(HELD), WORKER_HOLD}},
        [WORKER_LATE] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_ASK] = {true, {WORKER(DRAINING), WORKER_DRAIN}},
        [WORKER_DISMISS] = {true, {WORKER(STOPPING), WORKER_SIGNAL}},
        [WORKER_LEAVES] = {true, {WORKER(DRAINING), WORKER_LIMIT}},
        [WORKER_END] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_DIED] = {true, {WORKER(DEAD), WORKER_BURY}},
    },
    /* It has nothing to lose. */
    [WORKER(HELD)] = {
        [WORKER_RELEASE] = {true, {WORKER(STARTING), WORKER_NOTHING}},
        [WORKER_LATE] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_ASK] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_DISMISS] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_LEAVES] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_END] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_DIED] = {true, {WORKER(DEAD), WORKER_BURY}},
    },
    [WORKER(READY)] = {
        [WORKER_ASK] = {true, {WORKER(DRAINING), WORKER_DRAIN}},
        [WORKER_DISMISS] = {true, {WORKER(STOPPING), WORKER_SIGNAL}},
        [WORKER_LEAVES] = {true, {WORKER(DRAINING), WORKER_LIMIT}},
        [WORKER_END] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_DIED] = {true, {WORKER(DEAD), WORKER_BURY}},
    },
    [WORKER(DRAINING)] = {
        [WORKER_DISMISS] = {true, {WORKER(STOPPING), WORKER_SIGNAL}},
        [WORKER_DRAINED] = {true, {WORKER(STOPPING), WORKER_SIGNAL}},
        [WORKER_OVERDUE] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_END] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_DIED] = {true, {WORKER(DEAD), WORKER_BURY}},
    },
    [WORKER(STOPPING)] = {
        [WORKER_OVERDUE] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_END] = {true, {WORKER(STOPPING), WORKER_KILL}},
        [WORKER_DIED] = {true, {WORKER(DEAD), WORKER_BURY}},
    },
    /* DEAD: nothing happens to it any more. */
};

struct worker_step life_of_worker(enum umbel_state state, enum worker_event event)
{
	if (!worker_table[state][event].any)
		return (struct worker_step){state, WORKER_NOTHING};
	return worker_table[state][event].step;
}

static const struct {
	bool any;
	struct slot_step step;
} slot_table[SLOT_STATES][SLOT_EVENTS] = {
    [SLOT_EMPTY] = {
        [SLOT_WANT] = {true, {SLOT_FILLING, SLOT_START}},
    },
    [SLOT_FILLING] = {
        [SLOT_READY] = {true, {SLOT_SERVING, SLOT_NOTHING}},
        [SLOT_REFILL] = {true, {SLOT_FILLING, SLOT_START}},
        [SLOT_WAIT] = {true, {SLOT_BACKOFF, SLOT_ARM}},
        [SLOT_FAIL] = {true, {SLOT_FAILED, SLOT_TELL_FAILED}},
        [SLOT_LEAVE] = {true, {SLOT_EMPTY, SLOT_CLEAR}},
        [SLOT_REPLACE] = {true, {SLOT_FILLING, SLOT_START_OVER}},
        [SLOT_RETIRE] = {true, {SLOT_RETIRED, SLOT_ASK_ALL}},
    },
    [SLOT_SERVING] = {
        [SLOT_REFILL] = {true, {SLOT_FILLING, SLOT_START}},
        [SLOT_WAIT] = {true, {SLOT_BACKOFF, SLOT_ARM}},
        [SLOT_FAIL] = {true, {SLOT_FAILED, SLOT_TELL_FAILED}},
        [SLOT_LEAVE] = {true, {SLOT_EMPTY, SLOT_CLEAR}},
        [SLOT_REPLACE] = {true, {SLOT_REPLACING, SLOT_START_NEXT}},
        [SLOT_RETIRE] = {true, {SLOT_RETIRED, SLOT_ASK_ALL}},
    },
    [SLOT_REPLACING] = {
        [SLOT_TURN] = {true, {SLOT_SERVING, SLOT_ADOPT}},
        [SLOT_INHERIT] = {true, {SLOT_FILLING, SLOT_ADOPT}},
        [SLOT_KEEP] = {true, {SLOT_SERVING, SLOT_FORGET}},
        [SLOT_RETIRE] = {true, {SLOT_RETIRED, SLOT_ASK_ALL}},
    },
    [SLOT_BACKOFF] = {
        [SLOT_WANT] = {true, {SLOT_FILLING, SLOT_START}},
        [SLOT_DUE] = {true, {SLOT_FILLING, SLOT_START}},
        [SLOT_RETIRE] = {true, {SLOT_RETIRED, SLOT_ASK_ALL}},
    },
    [SLOT_FAILED] = {
        [SLOT_WANT] = {true, {SLOT_FILLING, SLOT_START}},
        [SLOT_RETIRE] = {true, {SLOT_RETIRED, SLOT_ASK_ALL}},
    },
    [SLOT_RETIRED] = {
        [SLOT_WANT] = {true, {SLOT_FILLING, SLOT_START}},
        [SLOT_LEAVE] = {true, {SLOT_EMPTY, SLOT_CLEAR}},
    },
};

struct slot_step life_of_slot(enum slot_state state, enum slot_event event)
{
	if (!slot_table[state][event].any)
		return (struct slot_step){state, SLOT_NOTHING};
	return slot_table[state][event].step;
}

bool life_is_expecting(enum slot_state state)
{
	return state == SLOT_FILLING || state == SLOT_SERVING || state == SLOT_REPLACING ||
	       state == SLOT_BACKOFF;
}

/* ---- what a death means ---- */

static bool is_own_doing(const struct death *d)
{
	static const int people_send[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

	if (d->not_started || d->has_no_program || d->broke || d->late || d->out_of_memory || d->code >= 0)
		return true;
	for (size_t i = 0; i < sizeof(people_send) / sizeof(people_send[0]); i++)
		if (d->signal == people_send[i])
			return false;
	return d->signal >= 0;
}

bool life_is_crash(const struct death *d, uint32_t min_up_ms)
{
	if (d->asked || (d->left && d->was_ready) || !is_own_doing(d))
		return false;
	return !d->was_ready || d->ready_ms < min_up_ms;
}

static bool is_followed(const struct death *d, const struct death_rules *rules)
{
	if (d->asked || d->not_started)
		return true; /* no end of its own: the slot still wants a worker */
	for (const int *code = rules->stop_codes; code && *code >= 0; code++)
		if (*code == d->code)
			return false;
	return rules->restart == UMBEL_RESTART_ALWAYS ||
	       (rules->restart == UMBEL_RESTART_ON_FAILURE && d->code != 0);
}

enum slot_event life_judge(const struct death *d, const struct death_rules *rules, struct streak *streak)
{
	bool crash = life_is_crash(d, rules->min_up_ms);

	if (crash)
		streak->crashes++;
	else if (d->was_ready && d->ready_ms >= rules->min_up_ms)
		streak->crashes = 0; /* who was killed from outside at once says nothing either way */
	if (d->was_ready)
		streak->unready = streak->early = 0;
	else
		streak->early++;
	if (!d->was_ready && crash && !d->not_started)
		streak->unready++;
	if (!is_followed(d, rules))
		return SLOT_LEAVE;
	if (rules->max_failures && streak->unready >= rules->max_failures)
		return SLOT_FAIL;
	/* One that is killed by whomever each time before it is ready must not be started in a spin. */
	return (crash && streak->crashes > 1) || streak->early > 2 ? SLOT_WAIT : SLOT_REFILL;
}

uint32_t life_backoff_ms(unsigned ends, uint32_t chance)
{
	enum { FIRST_MS = 100, MOST_MS = 30000 };
	uint32_t ms = FIRST_MS;

	if (ends < 2)
		return 0;
	for (unsigned i = 2; i < ends && ms < MOST_MS; i++)
		ms *= 2;
	if (ms > MOST_MS)
		ms = MOST_MS;
	return ms - ms / 5 + chance % (ms * 2 / 5 + 1);
}

/* ---- words ---- */

const char *life_worker_state(enum umbel_state state)
{
	static const char *const words[] = {
	    [WORKER(STARTING)] = "starting", [WORKER(HELD)] = "held",	  [WORKER(READY)] = "ready",
	    [WORKER(DRAINING)] = "draining", [WORKER(STOPPING)] = "stopping", [WORKER(DEAD)] = "dead"};

	return words[state];
}

const char *life_worker_event(enum worker_event event)
{
	static const char *const words[WORKER_EVENTS] = {
	    [WORKER_SERVES] = "serves",   [WORKER_HELD] = "held",       [WORKER_RELEASE] = "release",
	    [WORKER_LATE] = "late",       [WORKER_ASK] = "ask",
	    [WORKER_DISMISS] = "dismiss", [WORKER_LEAVES] = "leaves",   [WORKER_DRAINED] = "drained",
	    [WORKER_OVERDUE] = "overdue", [WORKER_END] = "end at once", [WORKER_DIED] = "died"};

	return words[event];
}

const char *life_worker_action(enum worker_action action)
{
	static const char *const words[WORKER_ACTIONS] = {
	    [WORKER_NOTHING] = "",       [WORKER_TELL_READY] = "tell READY", [WORKER_HOLD] = "hold",
	    [WORKER_DRAIN] = "drain",    [WORKER_LIMIT] = "limit",    [WORKER_SIGNAL] = "stop signal",   [WORKER_KILL] = "SIGKILL",
	    [WORKER_BURY] = "reap"};

	return words[action];
}

const char *life_slot_state(enum slot_state state)
{
	static const char *const words[SLOT_STATES] = {
	    [SLOT_EMPTY] = "empty",         [SLOT_FILLING] = "filling", [SLOT_SERVING] = "serving",
	    [SLOT_REPLACING] = "replacing", [SLOT_BACKOFF] = "backoff", [SLOT_FAILED] = "failed",
	    [SLOT_RETIRED] = "retired"};

	return words[state];
}

const char *life_slot_event(enum slot_event event)
{
	static const char *const words[SLOT_EVENTS] = {
	    [SLOT_WANT] = "want",   [SLOT_READY] = "ready",     [SLOT_REFILL] = "refill",
	    [SLOT_WAIT] = "wait",   [SLOT_FAIL] = "fail",       [SLOT_LEAVE] = "leave",
	    [SLOT_DUE] = "due",     [SLOT_REPLACE] = "replace", [SLOT_TURN] = "turn",
	    [SLOT_INHERIT] = "inherit", [SLOT_KEEP] = "keep",   [SLOT_RETIRE] = "retire"};

	return words[event];
}

const char *life_slot_action(enum slot_action action)
{
	static const char *const words[SLOT_ACTIONS] = {
	    [SLOT_NOTHING] = "",          [SLOT_START] = "start",   [SLOT_START_NEXT] = "start successor",
	    [SLOT_START_OVER] = "start over",
	    [SLOT_ARM] = "arm timer",     [SLOT_ADOPT] = "adopt",   [SLOT_FORGET] = "forget successor",
	    [SLOT_ASK_ALL] = "ask all",   [SLOT_CLEAR] = "clear",   [SLOT_TELL_FAILED] = "tell failed"};

	return words[action];
}
