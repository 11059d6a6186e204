#include "primary/plan.h"

struct counts {
	unsigned old, coming, soaked, on_trial, leaving, renewed, booting, busy;
};

static struct counts count_places(const struct plan *p)
{
	struct counts n = {0};

	for (int i = 0; i < p->count; i++) {
		n.old += p->places[i] == PLAN_OLD;
		n.coming += p->places[i] == PLAN_COMING;
		n.soaked += p->places[i] == PLAN_SOAKED;
		n.on_trial += p->places[i] == PLAN_ON_TRIAL;
		n.leaving += p->places[i] == PLAN_LEAVING;
		n.renewed += p->places[i] == PLAN_NEW;
		n.booting += p->places[i] == PLAN_BOOTING;
		n.busy += p->places[i] == PLAN_BUSY;
	}
	return n;
}

static int first(const struct plan *p, enum plan_place place)
{
	for (int i = 0; i < p->count; i++)
		if (p->places[i] == place)
			return i;
	return -1;
}

static struct plan_step step(enum plan_action action, int slot)
{
	return (struct plan_step){action, slot};
}

static struct plan_step next_canary(const struct plan *p, const struct counts *n)
{
	unsigned begun = n->coming + n->soaked + n->on_trial + n->leaving + n->renewed;

	if (n->soaked)
		return step(PLAN_TRY, first(p, PLAN_SOAKED));
	if (n->old && begun < p->canaries && n->coming + n->busy < p->surge)
		return step(PLAN_BEGIN, first(p, PLAN_OLD));
	if (begun == 0 && n->old == 0 && n->booting == 0 && n->busy == 0)
		return step(PLAN_DONE, -1);
	if (n->coming == 0 && n->busy == 0 && (n->booting == 0 || begun >= p->canaries))
		return step(PLAN_PAUSE, -1);
	return step(PLAN_WAIT, -1);
}

static struct plan_step next_of_the_rest(const struct plan *p, const struct counts *n)
{
	unsigned two = n->coming + n->soaked + n->on_trial + n->leaving + n->busy;

	if (n->on_trial && !p->all_or_nothing)
		return step(PLAN_TURN, first(p, PLAN_ON_TRIAL));
	if (n->soaked && !p->all_or_nothing)
		return step(PLAN_TURN, first(p, PLAN_SOAKED));
	if (n->old && (two < p->surge || p->all_or_nothing))
		return step(PLAN_BEGIN, first(p, PLAN_OLD));
	if (n->old || n->coming || n->booting || n->busy)
		return step(PLAN_WAIT, -1);
	if (n->on_trial || n->soaked)
		return step(PLAN_TURN, first(p, n->on_trial ? PLAN_ON_TRIAL : PLAN_SOAKED));
	return step(n->leaving ? PLAN_WAIT : PLAN_DONE, -1);
}

struct plan_step plan_next(const struct plan *p)
{
	struct counts n = count_places(p);

	switch (p->phase) {
	case PLAN_CANARY:
		return next_canary(p, &n);
	case PLAN_HOLD: /* for those who are tried; they may have been scaled away */
		if (n.on_trial || n.leaving || n.renewed || n.coming)
			return step(PLAN_WAIT, -1);
		return next_of_the_rest(p, &n);
	case PLAN_REST:
		return next_of_the_rest(p, &n);
	}
	return step(PLAN_WAIT, -1);
}
