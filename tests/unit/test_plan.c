/* What a reload does next: single steps, and whole reloads with slots that take their time, are failed,
 * absent or busy, and lose workers on the way. */
#include "primary/plan.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- single steps ---- */

/* One letter for each slot. */
static const struct {
	char letter;
	enum plan_place place;
} letters[] = {{'.', PLAN_ABSENT}, {'o', PLAN_OLD},      {'c', PLAN_COMING},  {'s', PLAN_SOAKED},
	       {'t', PLAN_ON_TRIAL}, {'l', PLAN_LEAVING}, {'n', PLAN_NEW}, {'b', PLAN_BUSY}};

static const struct {
	enum plan_phase phase;
	const char *slots;
	unsigned surge, canaries;
	enum plan_action action;
	int slot;
} steps[] = {
    /* one at a time */
    {PLAN_REST, "ooo", 1, 0, PLAN_BEGIN, 0},
    {PLAN_REST, "coo", 1, 0, PLAN_WAIT, -1},
    {PLAN_REST, "soo", 1, 0, PLAN_TURN, 0},
    {PLAN_REST, "loo", 1, 0, PLAN_WAIT, -1},
    {PLAN_REST, "noo", 1, 0, PLAN_BEGIN, 1},
    {PLAN_REST, "nnl", 1, 0, PLAN_WAIT, -1},
    {PLAN_REST, "nnn", 1, 0, PLAN_DONE, -1},
    /* who has soaked goes before who is to begin, from the first on */
    {PLAN_REST, "coso", 3, 0, PLAN_TURN, 2},
    {PLAN_REST, "colo", 3, 0, PLAN_BEGIN, 1},
    {PLAN_REST, "cclo", 3, 0, PLAN_WAIT, -1},
    /* nobody there, or nobody wanted */
    {PLAN_REST, "", 1, 0, PLAN_DONE, -1},
    {PLAN_REST, "...", 1, 0, PLAN_DONE, -1},
    {PLAN_REST, ".o.", 1, 0, PLAN_BEGIN, 1},
    {PLAN_REST, ".n.", 1, 0, PLAN_DONE, -1},
    /* busy: it will have to be begun, or be gone */
    {PLAN_REST, "nb", 1, 0, PLAN_WAIT, -1},
    /* all or nothing */
    {PLAN_REST, "oo", UINT_MAX, 0, PLAN_BEGIN, 0},
    {PLAN_REST, "so", UINT_MAX, 0, PLAN_BEGIN, 1},
    {PLAN_REST, "sc", UINT_MAX, 0, PLAN_WAIT, -1},
    {PLAN_REST, "sb", UINT_MAX, 0, PLAN_WAIT, -1},
    {PLAN_REST, "ss", UINT_MAX, 0, PLAN_TURN, 0},
    {PLAN_REST, "ls", UINT_MAX, 0, PLAN_TURN, 1},
    {PLAN_REST, "ts", UINT_MAX, 0, PLAN_TURN, 0},
    {PLAN_REST, "to", UINT_MAX, 0, PLAN_BEGIN, 1},
    {PLAN_REST, "ll", UINT_MAX, 0, PLAN_WAIT, -1},
    /* canaries */
    {PLAN_CANARY, "ooo", 1, 1, PLAN_BEGIN, 0},
    {PLAN_CANARY, "coo", 1, 1, PLAN_WAIT, -1},
    {PLAN_CANARY, "soo", 1, 1, PLAN_TRY, 0},
    {PLAN_CANARY, "too", 1, 1, PLAN_PAUSE, -1},
    {PLAN_CANARY, "too", 1, 2, PLAN_BEGIN, 1},
    {PLAN_CANARY, "coo", 2, 2, PLAN_BEGIN, 1},
    {PLAN_CANARY, "coo", 2, 1, PLAN_WAIT, -1},
    {PLAN_CANARY, "t", 1, 5, PLAN_PAUSE, -1},
    {PLAN_CANARY, "noo", 1, 1, PLAN_PAUSE, -1}, /* it had no predecessor, or that one died */
    {PLAN_CANARY, "loo", 1, 1, PLAN_PAUSE, -1}, /* its predecessor was not ready, and still leaves */
    {PLAN_CANARY, "loo", 1, 2, PLAN_BEGIN, 1},
    {PLAN_CANARY, "tbo", 1, 1, PLAN_WAIT, -1},
    {PLAN_HOLD, "too", 1, 1, PLAN_WAIT, -1},
    {PLAN_HOLD, "nnn", 1, 1, PLAN_WAIT, -1},
    {PLAN_REST, "too", 1, 1, PLAN_TURN, 0},
    {PLAN_REST, "tto", 1, 2, PLAN_TURN, 0},
    {PLAN_REST, "lto", 1, 2, PLAN_TURN, 1},
    {PLAN_REST, "llo", 1, 2, PLAN_WAIT, -1},
    {PLAN_REST, "nlo", 1, 2, PLAN_WAIT, -1},
    {PLAN_REST, "nno", 1, 2, PLAN_BEGIN, 2},
};

static int read_slots(const char *text, enum plan_place *places)
{
	int count = 0;

	for (; text[count]; count++)
		for (size_t i = 0; i < COUNT(letters); i++)
			if (letters[i].letter == text[count])
				places[count] = letters[i].place;
	return count;
}

static void test_steps(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(steps); i++) {
		enum plan_place places[8];
		struct plan p = {.phase = steps[i].phase, .places = places,
				 .count = read_slots(steps[i].slots, places), .surge = steps[i].surge,
				 .all_or_nothing = steps[i].surge == UINT_MAX,
				 .canaries = steps[i].canaries};
		struct plan_step got = plan_next(&p);

		if (got.action != steps[i].action || got.slot != steps[i].slot)
			fail_msg("phase %d, slots %s, surge %u: action %d of slot %d, expected %d of %d",
				 steps[i].phase, steps[i].slots, steps[i].surge, got.action, got.slot,
				 steps[i].action, steps[i].slot);
	}
}

/* ---- whole reloads ---- */

enum { MOST_SLOTS = 12 };

struct simulation {
	enum plan_place places[MOST_SLOTS];
	bool has_predecessor[MOST_SLOTS]; /* a second worker: serves, waits or leaves */
	int ticks[MOST_SLOTS];            /* until the slot moves on by itself */
	struct plan plan;
	bool has_deaths;                  /* workers are killed from outside now and then */
	unsigned most_two, pauses, begun;
	uint32_t random;
};

static unsigned chance(struct simulation *s, unsigned sides)
{
	s->random = s->random * 1664525 + 1013904223;
	return (s->random >> 16) % sides;
}

static unsigned count(const struct simulation *s, enum plan_place place)
{
	unsigned n = 0;

	for (int i = 0; i < s->plan.count; i++)
		n += s->places[i] == place;
	return n;
}

static unsigned count_two(const struct simulation *s)
{
	unsigned n = 0;

	for (int i = 0; i < s->plan.count; i++)
		n += s->has_predecessor[i] && s->places[i] != PLAN_OLD;
	return n;
}

static void move_on(struct simulation *s, int i)
{
	switch (s->places[i]) {
	case PLAN_COMING:
		s->places[i] = s->has_predecessor[i] ? PLAN_SOAKED : PLAN_NEW;
		break;
	case PLAN_LEAVING:
		s->has_predecessor[i] = false;
		s->places[i] = PLAN_NEW;
		break;
	case PLAN_BUSY:
		s->places[i] = chance(s, 4) ? PLAN_OLD : PLAN_ABSENT; /* it was scaled away */
		s->has_predecessor[i] = s->places[i] == PLAN_OLD;
		break;
	default:
		break;
	}
}

/* Somebody is killed from outside; that undoes nothing (who is to soak is spared: that would). */
static void kill_one(struct simulation *s, int i)
{
	switch (s->places[i]) {
	case PLAN_COMING: /* the predecessor */
		s->has_predecessor[i] = false;
		break;
	case PLAN_SOAKED:
	case PLAN_ON_TRIAL:
		s->has_predecessor[i] = false;
		s->places[i] = PLAN_NEW;
		break;
	case PLAN_NEW: /* the new one itself: it has a successor of its generation at once */
		s->places[i] = PLAN_COMING;
		s->ticks[i] = 2;
		break;
	default:
		break;
	}
}

static void tick(struct simulation *s)
{
	for (int i = 0; i < s->plan.count; i++) {
		if (s->ticks[i] > 0 && --s->ticks[i] == 0)
			move_on(s, i);
		if (s->has_deaths && chance(s, 20) == 0)
			kill_one(s, i);
	}
}

static void begin(struct simulation *s, int slot)
{
	assert_int_equal(s->places[slot], PLAN_OLD);
	s->places[slot] = PLAN_COMING;
	s->ticks[slot] = 1 + (int)chance(s, 5);
	s->begun++;
}

static void turn(struct simulation *s, int slot)
{
	assert_int_equal(s->plan.phase, PLAN_REST); /* never before or in the hold */
	assert_true(s->places[slot] == PLAN_SOAKED || s->places[slot] == PLAN_ON_TRIAL);
	if (s->plan.all_or_nothing)
		assert_int_equal(count(s, PLAN_OLD) + count(s, PLAN_COMING) + count(s, PLAN_BUSY), 0);
	s->places[slot] = PLAN_LEAVING;
	s->ticks[slot] = 1 + (int)chance(s, 5);
}

static void pause_there(struct simulation *s)
{
	assert_int_equal(s->plan.phase, PLAN_CANARY);
	assert_int_equal(count(s, PLAN_COMING) + count(s, PLAN_SOAKED), 0);
	assert_true(count(s, PLAN_OLD) == 0 || s->begun >= s->plan.canaries);
	assert_true(s->begun <= s->plan.canaries);
	s->plan.phase = PLAN_HOLD;
	s->pauses++;
	/* However long it lasts, nothing is done in a hold. */
	for (int i = 0; i < 5; i++) {
		tick(s);
		assert_int_equal(plan_next(&s->plan).action, PLAN_WAIT);
	}
	s->plan.phase = PLAN_REST;
}

/* False: the reload is over. */
static bool take_steps(struct simulation *s)
{
	unsigned allowed = s->plan.canaries > s->plan.surge ? s->plan.canaries : s->plan.surge;

	for (int i = 0; i < 4 * MOST_SLOTS; i++) {
		struct plan_step step = plan_next(&s->plan);
		unsigned two;

		if (step.action == PLAN_BEGIN || step.action == PLAN_TRY || step.action == PLAN_TURN)
			assert_in_range(step.slot, 0, s->plan.count - 1);
		switch (step.action) {
		case PLAN_BEGIN:
			begin(s, step.slot);
			break;
		case PLAN_TRY:
			assert_int_equal(s->plan.phase, PLAN_CANARY);
			assert_int_equal(s->places[step.slot], PLAN_SOAKED);
			s->places[step.slot] = PLAN_ON_TRIAL;
			break;
		case PLAN_TURN:
			turn(s, step.slot);
			break;
		case PLAN_PAUSE:
			pause_there(s);
			break;
		case PLAN_DONE:
			return false;
		case PLAN_WAIT:
			return true;
		}
		/* A canary keeps its predecessor during the hold, so that they may be more. */
		two = count_two(s);
		s->most_two = two > s->most_two ? two : s->most_two;
		assert_true(two <= allowed);
	}
	fail_msg("the plan never waits");
	return false;
}

static void simulate(struct simulation *s, const char *slots, unsigned surge, unsigned canaries,
		     bool has_deaths, uint32_t seed)
{
	int ticks = 0;

	*s = (struct simulation){.random = seed, .has_deaths = has_deaths};
	s->plan = (struct plan){.phase = canaries ? PLAN_CANARY : PLAN_REST, .places = s->places,
				.surge = surge, .all_or_nothing = surge == UINT_MAX,
				.canaries = canaries};
	s->plan.count = read_slots(slots, s->places);
	for (int i = 0; i < s->plan.count; i++) {
		s->has_predecessor[i] = s->places[i] == PLAN_OLD && chance(s, 5) != 0; /* else: failed */
		s->ticks[i] = s->places[i] == PLAN_BUSY ? 1 + (int)chance(s, 8) : 0;
	}
	while (take_steps(s)) {
		tick(s);
		if (++ticks == 40) /* so that it comes to an end */
			s->has_deaths = false;
		assert_true(ticks < 1000);
	}
	/* It ends with a new worker, alone, wherever one is wanted. */
	for (int i = 0; i < s->plan.count; i++) {
		assert_true(s->places[i] == PLAN_NEW || s->places[i] == PLAN_ABSENT);
		assert_false(s->has_predecessor[i]);
	}
	assert_int_equal(s->pauses, canaries > 0 && s->begun > 0); /* nobody to try: nothing to wait for */
}

static const char *const apps[] = {
    "o",        "oo",       "oooo",         "oooooooooooo", "o.o.o", "..oo",
    "booo",     "ooob",     "bb",           "o.bo.bo",      "b",
};

static const unsigned surges[] = {1, 2, 3, 100, UINT_MAX};

static void simulate_all(bool has_deaths)
{
	struct simulation s;

	for (size_t a = 0; a < COUNT(apps); a++)
		for (size_t i = 0; i < COUNT(surges); i++)
			for (unsigned canaries = 0; canaries < 4; canaries++)
				for (uint32_t seed = 1; seed <= 40; seed++)
					simulate(&s, apps[a], surges[i], canaries, has_deaths, seed);
}

static void test_reloads(void **state)
{
	(void)state;
	simulate_all(false);
}

static void test_reloads_with_deaths(void **state)
{
	(void)state;
	simulate_all(true);
}

/* The surge is used, not only kept. */
static void test_surge_is_reached(void **state)
{
	struct simulation s;

	(void)state;
	for (unsigned surge = 1; surge <= 4; surge++) {
		unsigned most = 0;

		for (uint32_t seed = 1; seed <= 20; seed++) {
			simulate(&s, "oooooooo", surge, 0, false, seed);
			most = s.most_two > most ? s.most_two : most;
		}
		assert_int_equal(most, surge);
	}
}

/* Nobody wanted: nothing to do. */
static void test_nobody(void **state)
{
	struct simulation s;

	(void)state;
	simulate(&s, "", 1, 0, false, 1);
	assert_int_equal(s.begun, 0);
	simulate(&s, "...", UINT_MAX, 0, false, 1);
	assert_int_equal(s.begun, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_steps),
	    cmocka_unit_test(test_reloads),
	    cmocka_unit_test(test_reloads_with_deaths),
	    cmocka_unit_test(test_surge_is_reached),
	    cmocka_unit_test(test_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
