/* What a worker and a slot may be: every cell of both tables, what a death means, how long to wait. */
#include "life/life.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- the tables: a cell is "next state/action", in the words of the command; "": nothing changes ---- */

static const struct {
	enum worker_event event;
	const char *starting, *held, *ready, *draining, *stopping, *dead;
} worker_cells[] = {
    /* Ready once: whoever was asked to leave, or is about to, is not made ready by listening. */
    {WORKER_SERVES, "ready/tell READY", "", "", "", "", ""},
    /* A spare is held once, and starts on where it stopped. */
    {WORKER_HELD, "held/hold", "", "", "", "", ""},
    {WORKER_RELEASE, "", "starting/", "", "", "", ""},
    /* The deadline is one of the start-up only. */
    {WORKER_LATE, "stopping/SIGKILL", "stopping/SIGKILL", "", "", "", ""},
    /* The order of stopping: drain, then the signal, then SIGKILL; each once. Who is held has nothing to
     * finish. */
    {WORKER_ASK, "draining/drain", "stopping/SIGKILL", "draining/drain", "", "", ""},
    {WORKER_DISMISS, "stopping/stop signal", "stopping/SIGKILL", "stopping/stop signal", "stopping/stop signal",
     "", ""},
    {WORKER_LEAVES, "draining/limit", "stopping/SIGKILL", "draining/limit", "", "", ""},
    /* Only who drains can have drained; the signal comes at that very moment. */
    {WORKER_DRAINED, "", "", "", "stopping/stop signal", "", ""},
    /* The grace begins with the first step of leaving and ends in SIGKILL, in whatever step. */
    {WORKER_OVERDUE, "", "", "", "stopping/SIGKILL", "stopping/SIGKILL", ""},
    {WORKER_END, "stopping/SIGKILL", "stopping/SIGKILL", "stopping/SIGKILL", "stopping/SIGKILL",
     "stopping/SIGKILL", ""},
    /* What the pidfd says holds always, and once. */
    {WORKER_DIED, "dead/reap", "dead/reap", "dead/reap", "dead/reap", "dead/reap", ""},
};

static const struct {
	enum slot_event event;
	const char *empty, *filling, *serving, *replacing, *backoff, *failed, *retired;
} slot_cells[] = {
    /* Wherever nobody is; reload and scale get a failed slot going again, and end a back-off. */
    {SLOT_WANT, "filling/start", "", "", "", "filling/start", "filling/start", "filling/start"},
    {SLOT_READY, "", "serving/", "", "", "", "", ""},
    /* The death of the only worker: of one that was ready, or not yet. With a successor on its way it is
     * TURN or INHERIT instead. */
    {SLOT_REFILL, "", "filling/start", "filling/start", "", "", "", ""},
    {SLOT_WAIT, "", "backoff/arm timer", "backoff/arm timer", "", "", "", ""},
    {SLOT_FAIL, "", "failed/tell failed", "failed/tell failed", "", "", "", ""},
    {SLOT_LEAVE, "", "empty/clear", "empty/clear", "", "", "", "empty/clear"},
    {SLOT_DUE, "", "", "", "", "filling/start", "", ""},
    /* A successor beside who serves; who serves nobody yet is not worth keeping. */
    {SLOT_REPLACE, "", "filling/start over", "replacing/start successor", "", "", "", ""},
    /* Two workers, and which of them stays. */
    {SLOT_TURN, "", "", "", "serving/adopt", "", "", ""},
    {SLOT_INHERIT, "", "", "", "filling/adopt", "", "", ""},
    {SLOT_KEEP, "", "", "", "serving/forget successor", "", "", ""},
    /* Who is there is asked; where nobody is, it is over at once. */
    {SLOT_RETIRE, "", "retired/ask all", "retired/ask all", "retired/ask all", "retired/ask all",
     "retired/ask all", ""},
};

static void expect_cell(const char *state, const char *event, const char *next, const char *action,
			const char *expected)
{
	char got[96], same[96];

	snprintf(got, sizeof(got), "%s/%s", next, action);
	snprintf(same, sizeof(same), "%s/", state);
	if (strcmp(got, *expected ? expected : same) != 0)
		fail_msg("%s, %s: %s, expected %s", state, event, got, *expected ? expected : "no change");
}

static void test_worker_table(void **state)
{
	(void)state;
	assert_int_equal(COUNT(worker_cells), WORKER_EVENTS);
	for (size_t e = 0; e < COUNT(worker_cells); e++) {
		const char *cells[] = {
		    [UMBEL_STATE_STARTING] = worker_cells[e].starting,
		    [UMBEL_STATE_HELD] = worker_cells[e].held,
		    [UMBEL_STATE_READY] = worker_cells[e].ready,
		    [UMBEL_STATE_DRAINING] = worker_cells[e].draining,
		    [UMBEL_STATE_STOPPING] = worker_cells[e].stopping,
		    [UMBEL_STATE_DEAD] = worker_cells[e].dead,
		};

		assert_int_equal(worker_cells[e].event, e); /* each one, once */
		for (unsigned s = 0; s < COUNT(cells); s++) {
			struct worker_step step = life_of_worker((enum umbel_state)s, worker_cells[e].event);

			assert_non_null(cells[s]);
			expect_cell(life_worker_state((enum umbel_state)s),
				    life_worker_event(worker_cells[e].event), life_worker_state(step.next),
				    life_worker_action(step.action), cells[s]);
		}
	}
}

static void test_slot_table(void **state)
{
	(void)state;
	assert_int_equal(COUNT(slot_cells), SLOT_EVENTS);
	for (size_t e = 0; e < COUNT(slot_cells); e++) {
		const char *cells[SLOT_STATES] = {
		    [SLOT_EMPTY] = slot_cells[e].empty,         [SLOT_FILLING] = slot_cells[e].filling,
		    [SLOT_SERVING] = slot_cells[e].serving,     [SLOT_REPLACING] = slot_cells[e].replacing,
		    [SLOT_BACKOFF] = slot_cells[e].backoff,     [SLOT_FAILED] = slot_cells[e].failed,
		    [SLOT_RETIRED] = slot_cells[e].retired,
		};

		assert_int_equal(slot_cells[e].event, e);
		for (unsigned s = 0; s < SLOT_STATES; s++) {
			struct slot_step step = life_of_slot((enum slot_state)s, slot_cells[e].event);

			assert_non_null(cells[s]);
			expect_cell(life_slot_state((enum slot_state)s),
				    life_slot_event(slot_cells[e].event), life_slot_state(step.next),
				    life_slot_action(step.action), cells[s]);
		}
	}
}

/* ---- what must hold of any table ---- */

/* Whatever happened to it before, SIGKILL and death end a worker; nothing brings it back. Only a spare goes
 * on where it was. */
static void test_worker_goes_one_way(void **state)
{
	(void)state;
	for (unsigned s = 0; s <= UMBEL_STATE_DEAD; s++) {
		for (unsigned e = 0; e < WORKER_EVENTS; e++) {
			struct worker_step step = life_of_worker((enum umbel_state)s, (enum worker_event)e);

			assert_true(step.next >= s || (s == UMBEL_STATE_HELD && e == WORKER_RELEASE));
			if (s == UMBEL_STATE_DEAD)
				assert_int_equal(step.action, WORKER_NOTHING);
		}
		if (s != UMBEL_STATE_DEAD)
			assert_int_equal(life_of_worker((enum umbel_state)s, WORKER_END).action, WORKER_KILL);
		assert_int_equal(life_of_worker((enum umbel_state)s, WORKER_DIED).next, UMBEL_STATE_DEAD);
	}
}

/* A slot that is scaled away is empty or on its way there, and nothing but WANT starts a worker in it. */
static void test_slot_retires(void **state)
{
	(void)state;
	for (unsigned s = 0; s < SLOT_STATES; s++) {
		enum slot_state next = life_of_slot((enum slot_state)s, SLOT_RETIRE).next;

		assert_true(next == SLOT_EMPTY || next == SLOT_RETIRED);
		for (unsigned e = 0; e < SLOT_EVENTS; e++)
			if (e != SLOT_WANT)
				assert_false(life_is_expecting(life_of_slot(next, (enum slot_event)e).next));
	}
}

/* Two workers are in no other state than replacing. */
static void test_only_replacing_has_two(void **state)
{
	(void)state;
	for (unsigned s = 0; s < SLOT_STATES; s++)
		for (unsigned e = 0; e < SLOT_EVENTS; e++) {
			struct slot_step step = life_of_slot((enum slot_state)s, (enum slot_event)e);

			assert_int_equal(step.action == SLOT_START_NEXT,
					 s != SLOT_REPLACING && step.next == SLOT_REPLACING);
			if (step.action == SLOT_ADOPT || step.action == SLOT_FORGET)
				assert_int_equal(s, SLOT_REPLACING);
			if (step.action == SLOT_START)
				assert_true(s != SLOT_REPLACING && step.next == SLOT_FILLING);
		}
}

static void test_expecting(void **state)
{
	(void)state;
	assert_false(life_is_expecting(SLOT_EMPTY));
	assert_true(life_is_expecting(SLOT_FILLING));
	assert_true(life_is_expecting(SLOT_SERVING));
	assert_true(life_is_expecting(SLOT_REPLACING));
	assert_true(life_is_expecting(SLOT_BACKOFF));
	assert_false(life_is_expecting(SLOT_FAILED));
	assert_false(life_is_expecting(SLOT_RETIRED));
}

/* ---- words: each its own, so that the cells above are told apart ---- */

static void expect_distinct(const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_non_null(words[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(words[i], words[j]);
	}
}

static void test_words(void **state)
{
	const char *words[32];

	(void)state;
	for (unsigned i = 0; i <= UMBEL_STATE_DEAD; i++)
		words[i] = life_worker_state((enum umbel_state)i);
	expect_distinct(words, UMBEL_STATE_DEAD + 1);
	for (unsigned i = 0; i < WORKER_EVENTS; i++)
		words[i] = life_worker_event((enum worker_event)i);
	expect_distinct(words, WORKER_EVENTS);
	for (unsigned i = 0; i < WORKER_ACTIONS; i++)
		words[i] = life_worker_action((enum worker_action)i);
	expect_distinct(words, WORKER_ACTIONS);
	for (unsigned i = 0; i < SLOT_STATES; i++)
		words[i] = life_slot_state((enum slot_state)i);
	expect_distinct(words, SLOT_STATES);
	for (unsigned i = 0; i < SLOT_EVENTS; i++)
		words[i] = life_slot_event((enum slot_event)i);
	expect_distinct(words, SLOT_EVENTS);
	for (unsigned i = 0; i < SLOT_ACTIONS; i++)
		words[i] = life_slot_action((enum slot_action)i);
	expect_distinct(words, SLOT_ACTIONS);
}

/* ---- what is a crash: min_up_ms is 1000 ---- */

static const struct {
	const char *what;
	struct death death;
	bool is_crash;
} deaths[] = {
    {"exit 1 before ready", {.code = 1, .signal = -1}, true},
    {"exit 0 before ready", {.code = 0, .signal = -1}, true},
    {"SEGV before ready", {.code = -1, .signal = SIGSEGV}, true},
    {"exit 1 when just ready", {.code = 1, .signal = -1, .was_ready = true, .ready_ms = 0}, true},
    {"exit 1 just too soon", {.code = 1, .signal = -1, .was_ready = true, .ready_ms = 999}, true},
    {"exit 1 just not too soon", {.code = 1, .signal = -1, .was_ready = true, .ready_ms = 1000}, false},
    {"exit 0 too soon", {.code = 0, .signal = -1, .was_ready = true, .ready_ms = 1}, true},
    {"SEGV too soon", {.code = -1, .signal = SIGSEGV, .was_ready = true, .ready_ms = 1}, true},
    {"SEGV after a while", {.code = -1, .signal = SIGSEGV, .was_ready = true, .ready_ms = 5000}, false},
    {"no process", {.code = -1, .signal = -1, .not_started = true}, true},
    {"no program", {.code = 127, .signal = -1, .has_no_program = true}, true},
    {"not ready in time", {.code = -1, .signal = SIGKILL, .late = true}, true},
    {"late, and ended by TERM", {.code = -1, .signal = SIGTERM, .late = true}, true},
    {"broke the protocol at boot", {.code = -1, .signal = SIGKILL, .broke = true}, true},
    {"broke the protocol too soon",
     {.code = -1, .signal = SIGKILL, .broke = true, .was_ready = true, .ready_ms = 1}, true},
    {"broke the protocol after a while",
     {.code = -1, .signal = SIGKILL, .broke = true, .was_ready = true, .ready_ms = 5000}, false},
    {"out of memory at boot", {.code = -1, .signal = SIGKILL, .out_of_memory = true}, true},
    {"out of memory too soon",
     {.code = -1, .signal = SIGKILL, .out_of_memory = true, .was_ready = true, .ready_ms = 1}, true},
    {"out of memory after a while",
     {.code = -1, .signal = SIGKILL, .out_of_memory = true, .was_ready = true, .ready_ms = 5000}, false},
    {"asked, exit 1", {.code = 1, .signal = -1, .asked = true}, false},
    {"asked, SEGV", {.code = -1, .signal = SIGSEGV, .asked = true, .was_ready = true}, false},
    {"left when ready", {.code = 0, .signal = -1, .left = true, .was_ready = true}, false},
    {"left when ready, exit 1", {.code = 1, .signal = -1, .left = true, .was_ready = true}, false},
    {"left before ready", {.code = 0, .signal = -1, .left = true}, true},
    {"reaped by somebody else", {.code = -1, .signal = -1}, false},
};

static void test_crash(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(deaths); i++)
		if (life_is_crash(&deaths[i].death, 1000) != deaths[i].is_crash)
			fail_msg("%s: %s a crash", deaths[i].what, deaths[i].is_crash ? "is" : "is not");
}

static void test_crash_by_signal(void **state)
{
	static const int kernel_raises[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP};
	static const int people_send[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

	(void)state;
	for (size_t i = 0; i < COUNT(kernel_raises); i++) {
		struct death d = {.code = -1, .signal = kernel_raises[i]};

		assert_true(life_is_crash(&d, 1000));
	}
	for (size_t i = 0; i < COUNT(people_send); i++) {
		struct death d = {.code = -1, .signal = people_send[i]};

		assert_false(life_is_crash(&d, 1000));
		d.was_ready = true;
		assert_false(life_is_crash(&d, 1000));
	}
}

/* With 0 only who was never ready crashes. */
static void test_crash_without_min_up(void **state)
{
	struct death d = {.code = 1, .signal = -1, .was_ready = true};

	(void)state;
	assert_false(life_is_crash(&d, 0));
	d.was_ready = false;
	assert_true(life_is_crash(&d, 0));
}

/* ---- what follows ---- */

static const struct death exit_0 = {.code = 0, .signal = -1}, exit_1 = {.code = 1, .signal = -1},
			  lived_0 = {.code = 0, .signal = -1, .was_ready = true, .ready_ms = 60000},
			  lived_1 = {.code = 1, .signal = -1, .was_ready = true, .ready_ms = 60000},
			  just_lived_1 = {.code = 1, .signal = -1, .was_ready = true, .ready_ms = 1000},
			  soon_1 = {.code = 1, .signal = -1, .was_ready = true, .ready_ms = 10},
			  killed = {.code = -1, .signal = SIGKILL, .was_ready = true, .ready_ms = 60000},
			  killed_soon = {.code = -1, .signal = SIGKILL, .was_ready = true, .ready_ms = 10},
			  killed_at_boot = {.code = -1, .signal = SIGKILL},
			  late = {.code = -1, .signal = SIGKILL, .late = true},
			  not_started = {.code = -1, .signal = -1, .not_started = true},
			  asked_0 = {.code = 0, .signal = -1, .asked = true, .left = true,
				     .was_ready = true, .ready_ms = 60000};

static enum slot_event judge(const struct death *d, enum umbel_restart restart, const int *stop_codes)
{
	struct death_rules rules = {.min_up_ms = 1000, .max_failures = 5, .restart = restart,
				    .stop_codes = stop_codes};
	struct streak streak = {0};

	return life_judge(d, &rules, &streak);
}

static void test_policies(void **state)
{
	static const struct {
		const struct death *death;
		bool always, on_failure, never; /* whether somebody follows */
	} table[] = {
	    {&lived_0, true, false, false},
	    {&lived_1, true, true, false},
	    {&exit_0, true, false, false},
	    {&exit_1, true, true, false},
	    {&killed, true, true, false},
	    {&late, true, true, false},
	    {&asked_0, true, true, true},     /* no end of its own */
	    {&not_started, true, true, true}, /* nobody has ended */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		assert_int_equal(judge(table[i].death, UMBEL_RESTART_ALWAYS, NULL),
				 table[i].always ? SLOT_REFILL : SLOT_LEAVE);
		assert_int_equal(judge(table[i].death, UMBEL_RESTART_ON_FAILURE, NULL),
				 table[i].on_failure ? SLOT_REFILL : SLOT_LEAVE);
		assert_int_equal(judge(table[i].death, UMBEL_RESTART_NEVER, NULL),
				 table[i].never ? SLOT_REFILL : SLOT_LEAVE);
	}
}

static void test_stop_codes(void **state)
{
	static const int codes[] = {0, 3, -1}, none[] = {-1};
	struct death three = lived_1, boot_three = exit_1;

	(void)state;
	three.code = boot_three.code = 3;
	assert_int_equal(judge(&lived_0, UMBEL_RESTART_ALWAYS, codes), SLOT_LEAVE);
	assert_int_equal(judge(&three, UMBEL_RESTART_ALWAYS, codes), SLOT_LEAVE);
	assert_int_equal(judge(&boot_three, UMBEL_RESTART_ALWAYS, codes), SLOT_LEAVE);
	assert_int_equal(judge(&lived_1, UMBEL_RESTART_ALWAYS, codes), SLOT_REFILL);
	assert_int_equal(judge(&three, UMBEL_RESTART_ON_FAILURE, codes), SLOT_LEAVE);
	/* No exit status at all: -1 ends the list and is none of it. */
	assert_int_equal(judge(&killed, UMBEL_RESTART_ALWAYS, codes), SLOT_REFILL);
	assert_int_equal(judge(&killed, UMBEL_RESTART_ALWAYS, none), SLOT_REFILL);
	assert_int_equal(judge(&lived_0, UMBEL_RESTART_ALWAYS, none), SLOT_REFILL);
	assert_int_equal(judge(&asked_0, UMBEL_RESTART_ALWAYS, codes), SLOT_REFILL);
}

/* Deaths in a row, each with what follows. */
struct row {
	const struct death *death;
	enum slot_event follows;
	struct streak streak;
};

static void expect_rows(const struct row *rows, size_t count, uint32_t max_failures)
{
	struct death_rules rules = {.min_up_ms = 1000, .max_failures = max_failures,
				    .restart = UMBEL_RESTART_ALWAYS};
	struct streak streak = {0};

	for (size_t i = 0; i < count; i++) {
		enum slot_event follows = life_judge(rows[i].death, &rules, &streak);

		if (follows != rows[i].follows || streak.crashes != rows[i].streak.crashes ||
		    streak.unready != rows[i].streak.unready)
			fail_msg("death %zu: %s after %u crashes, %u unready; expected %s, %u, %u", i + 1,
				 life_slot_event(follows), streak.crashes, streak.unready,
				 life_slot_event(rows[i].follows), rows[i].streak.crashes,
				 rows[i].streak.unready);
	}
}

static void test_crash_loop_at_boot(void **state)
{
	static const struct row rows[] = {
	    {&exit_1, SLOT_REFILL, {1, 1, 0}}, /* the first: at once */
	    {&exit_1, SLOT_WAIT, {2, 2, 0}},
	    {&late, SLOT_WAIT, {3, 3, 0}},
	    {&exit_0, SLOT_WAIT, {4, 4, 0}},
	    {&exit_1, SLOT_FAIL, {5, 5, 0}},
	};
	static const struct row at_once[] = {{&exit_1, SLOT_FAIL, {1, 1, 0}}};

	(void)state;
	expect_rows(rows, COUNT(rows), 5);
	expect_rows(at_once, COUNT(at_once), 1);
}

/* Who was ready in between has shown that the program can: the slot does not fail, but it waits. */
static void test_crash_loop_after_ready(void **state)
{
	static const struct row rows[] = {
	    {&soon_1, SLOT_REFILL, {1, 0, 0}}, {&soon_1, SLOT_WAIT, {2, 0, 0}}, {&soon_1, SLOT_WAIT, {3, 0, 0}},
	    {&soon_1, SLOT_WAIT, {4, 0, 0}},   {&soon_1, SLOT_WAIT, {5, 0, 0}}, {&soon_1, SLOT_WAIT, {6, 0, 0}},
	    {&exit_1, SLOT_WAIT, {7, 1, 0}},   {&soon_1, SLOT_WAIT, {8, 0, 0}}, {&exit_1, SLOT_WAIT, {9, 1, 0}},
	    {&lived_1, SLOT_REFILL, {0, 0, 0}}, {&exit_1, SLOT_REFILL, {1, 1, 0}},
	    {&just_lived_1, SLOT_REFILL, {0, 0, 0}},
	};

	(void)state;
	expect_rows(rows, COUNT(rows), 2);
}

/* A KILL from outside neither counts nor forgives; it starts no back-off, however often it comes, unless
 * it comes before ready for the third time in a row. */
static void test_killed_in_a_row(void **state)
{
	static const struct row rows[] = {
	    {&killed, SLOT_REFILL, {0, 0, 0}},      {&killed_soon, SLOT_REFILL, {0, 0, 0}},
	    {&killed_soon, SLOT_REFILL, {0, 0, 0}}, {&killed_at_boot, SLOT_REFILL, {0, 0, 0}},
	    {&killed_at_boot, SLOT_REFILL, {0, 0, 0}}, {&killed_at_boot, SLOT_WAIT, {0, 0, 0}},
	    {&exit_1, SLOT_WAIT, {1, 1, 0}},        {&exit_1, SLOT_WAIT, {2, 2, 0}},
	    {&killed_at_boot, SLOT_WAIT, {2, 2, 0}}, {&killed_soon, SLOT_REFILL, {2, 0, 0}},
	    {&soon_1, SLOT_WAIT, {3, 0, 0}},        {&killed, SLOT_REFILL, {0, 0, 0}},
	};

	(void)state;
	expect_rows(rows, COUNT(rows), 3);
}

/* No memory for a process says nothing of the program: it is tried again for ever, but not at once. */
static void test_not_started_in_a_row(void **state)
{
	struct death_rules rules = {.min_up_ms = 1000, .max_failures = 2, .restart = UMBEL_RESTART_NEVER};
	struct streak streak = {0};

	(void)state;
	assert_int_equal(life_judge(&not_started, &rules, &streak), SLOT_REFILL);
	for (unsigned i = 2; i < 100; i++) {
		assert_int_equal(life_judge(&not_started, &rules, &streak), SLOT_WAIT);
		assert_int_equal(streak.crashes, i);
		assert_int_equal(streak.unready, 0);
	}
}

static void test_no_limit_of_failures(void **state)
{
	struct death_rules rules = {.min_up_ms = 1000, .restart = UMBEL_RESTART_ALWAYS};
	struct streak streak = {0};

	(void)state;
	assert_int_equal(life_judge(&exit_1, &rules, &streak), SLOT_REFILL);
	for (unsigned i = 2; i < 1000; i++)
		assert_int_equal(life_judge(&exit_1, &rules, &streak), SLOT_WAIT);
	assert_int_equal(streak.unready, 999);
}

/* Who is not to follow is not, also when that was one too many. */
static void test_leave_before_fail(void **state)
{
	static const int codes[] = {1, -1};
	struct death_rules rules = {.min_up_ms = 1000, .max_failures = 1, .restart = UMBEL_RESTART_ALWAYS,
				    .stop_codes = codes};
	struct streak streak = {0};

	(void)state;
	assert_int_equal(life_judge(&exit_1, &rules, &streak), SLOT_LEAVE);
}

/* ---- back-off ---- */

static void test_backoff(void **state)
{
	static const struct {
		unsigned crashes;
		uint32_t middle_ms;
	} table[] = {{0, 0},     {1, 0},      {2, 100},    {3, 200},    {4, 400},     {5, 800},
		     {6, 1600},  {7, 3200},   {8, 6400},   {9, 12800},  {10, 25600},  {11, 30000},
		     {12, 30000}, {33, 30000}, {34, 30000}, {1000, 30000}, {UINT32_MAX, 30000}};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		uint32_t middle = table[i].middle_ms, low = UINT32_MAX, high = 0;
		uint64_t sum = 0;
		enum { TRIES = 100000 };

		for (uint32_t k = 0; k < TRIES; k++) {
			uint32_t ms = life_backoff_ms(table[i].crashes, k);

			low = ms < low ? ms : low;
			high = ms > high ? ms : high;
			sum += ms;
		}
		/* Both ends are reached and nothing is beyond. */
		assert_int_equal(low, middle - middle / 5);
		assert_int_equal(high, middle + middle / 5);
		assert_in_range(sum / TRIES, middle - middle / 50, middle + middle / 50);
		assert_in_range(life_backoff_ms(table[i].crashes, UINT32_MAX), low, high);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_worker_table),
	    cmocka_unit_test(test_slot_table),
	    cmocka_unit_test(test_worker_goes_one_way),
	    cmocka_unit_test(test_slot_retires),
	    cmocka_unit_test(test_only_replacing_has_two),
	    cmocka_unit_test(test_expecting),
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_crash),
	    cmocka_unit_test(test_crash_by_signal),
	    cmocka_unit_test(test_crash_without_min_up),
	    cmocka_unit_test(test_policies),
	    cmocka_unit_test(test_stop_codes),
	    cmocka_unit_test(test_crash_loop_at_boot),
	    cmocka_unit_test(test_crash_loop_after_ready),
	    cmocka_unit_test(test_killed_in_a_row),
	    cmocka_unit_test(test_not_started_in_a_row),
	    cmocka_unit_test(test_no_limit_of_failures),
	    cmocka_unit_test(test_leave_before_fail),
	    cmocka_unit_test(test_backoff),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
