#include "share/counting.h"

#include "share/receiver.h"
#include "share/sharing.h"
#include "wire/node.h"

#include <string.h>

static bool is_wanted(const struct receiver *r)
{
	const struct share *s;

	if (!r->has_preload || r->is_libumbel)
		return false;
	TAILQ_FOREACH (s, &r->sharing->shares, link)
		if ((s->policy == UMBEL_LEAST || r->sharing->settings->max_connections) && share_accepts(s) &&
		    share_seat_of(s, r) >= 0)
			return true;
	return false;
}

void counting_update(struct receiver *r)
{
	bool wanted = is_wanted(r);
	const char *text = wanted ? NODE_COUNT_TEXT : NODE_COUNT_NO_MORE_TEXT;

	if (wanted == r->counting.asked)
		return;
	r->counting = (struct counting){.asked = wanted, .is_whole = r->handed == 0};
	r->pace = (struct pace){.sampled_ms = 0};
	receiver_send(r, text, strlen(text), -1, 0);
}

static uint64_t now_us(void)
{
	return uv_hrtime() / 1000;
}

void counting_look(struct receiver *r)
{
	struct counting *counting = &r->counting;
	bool has_some = counting->open > 0 || r->unanswered > 0;

	if (!counting->known || has_some == (counting->since_us > 0))
		return;
	if (!has_some)
		counting->sum.service_us += now_us() - counting->since_us;
	counting->since_us = has_some ? now_us() : 0;
}

void counting_accepted(struct receiver *r)
{
	if (r->counting.known)
		r->counting.open++;
}

/* It answers, and says this, in the order in which it happened to it: so all that it was handed until then are
 * either over or open, but for those that it accepted and lost. */
void counting_done(struct receiver *r, unsigned finished, unsigned open)
{
	struct counting *counting = &r->counting;
	unsigned had = counting->open;

	if (!counting->asked)
		return; /* it was told to stop, and has not read it yet */
	counting->known = true;
	counting->open = open < had ? open : had;
	counting->sum.finished += finished < had - counting->open ? finished : had - counting->open;
	counting_look(r);
}

struct least_sample counting_sum(const struct receiver *r)
{
	struct least_sample sum = r->counting.sum;

	if (r->counting.since_us)
		sum.service_us += now_us() - r->counting.since_us;
	return sum;
}
