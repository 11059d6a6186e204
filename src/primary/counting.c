#include "primary/counting.h"

#include "primary/cluster.h"
#include "primary/dialogue.h"
#include "primary/worker.h"
#include "wire/node.h"

#include <string.h>

static bool is_wanted(const struct umbel_worker *w)
{
	const struct share *s;

	if (!w->has_preload || w->is_libumbel)
		return false;
	TAILQ_FOREACH (s, &w->cluster->sharing.shares, link)
		if ((s->policy == UMBEL_LEAST || w->cluster->settings.max_connections) && share_accepts(s) &&
		    share_seat_of(s, w) >= 0)
			return true;
	return false;
}

void counting_update(struct umbel_worker *w)
{
	bool wanted = is_wanted(w);
	const char *text = wanted ? NODE_COUNT_TEXT : NODE_COUNT_NO_MORE_TEXT;

	if (wanted == w->counting.asked)
		return;
	w->counting = (struct counting){.asked = wanted, .is_whole = w->handed == 0};
	w->pace = (struct pace){.sampled_ms = 0};
	dialogue_send(w, text, strlen(text), -1, 0);
}

static uint64_t now_us(void)
{
	return uv_hrtime() / 1000;
}

void counting_look(struct umbel_worker *w)
{
	struct counting *counting = &w->counting;
	bool has_some = counting->open > 0 || w->unanswered > 0;

	if (!counting->known || has_some == (counting->since_us > 0))
		return;
	if (!has_some)
		counting->sum.service_us += now_us() - counting->since_us;
	counting->since_us = has_some ? now_us() : 0;
}

void counting_accepted(struct umbel_worker *w)
{
	if (w->counting.known)
		w->counting.open++;
}

/* It answers, and says this, in the order in which it happened to it: so all that it was handed until then are
 * either over or open, but for those that it accepted and lost. */
void counting_done(struct umbel_worker *w, unsigned finished, unsigned open)
{
	struct counting *counting = &w->counting;
	unsigned had = counting->open;

	if (!counting->asked)
		return; /* it was told to stop, and has not read it yet */
	counting->known = true;
	counting->open = open < had ? open : had;
	counting->sum.finished += finished < had - counting->open ? finished : had - counting->open;
	counting_look(w);
}

struct least_sample counting_sum(const struct umbel_worker *w)
{
	struct least_sample sum = w->counting.sum;

	if (w->counting.since_us)
		sum.service_us += now_us() - w->counting.since_us;
	return sum;
}
