#include "share/ceiling.h"

#include "share/handoff.h"
#include "share/receiver.h"
#include "share/sharing.h"

/* Libumbel workers, and Node's that have counted from the beginning on. */
static bool says_all(const struct receiver *r, unsigned *ret_active)
{
	bool known;

	*ret_active = handoff_active(r, &known);
	return known && (r->board || r->counting.is_whole);
}

static unsigned count_told(const struct sharing *sharing)
{
	const struct receiver *r;
	unsigned sum = 0;

	TAILQ_FOREACH (r, &sharing->receivers, link) {
		unsigned active;

		sum += says_all(r, &active) ? active : 0;
	}
	return sum;
}

/* Accepted, and nobody's yet. */
static unsigned count_waiting(const struct sharing *sharing)
{
	const struct share *s;
	unsigned sum = 0;

	TAILQ_FOREACH (s, &sharing->shares, link)
		sum += s->pending_count + s->parked_count;
	return sum;
}

/* Whether somebody serves it who does not say what he has. */
static bool is_untold(const struct share *s)
{
	for (unsigned i = 0; i < s->seat_count; i++) {
		unsigned ignored;

		if (!says_all(s->seats[i].receiver, &ignored))
			return true;
	}
	return false;
}

/* Of the others: the kernel knows the connections of a port. */
static unsigned count_of_ports(const struct sharing *sharing)
{
	const struct share *s;
	unsigned sum = 0;

	TAILQ_FOREACH (s, &sharing->shares, link) {
		struct diag_clients clients;
		unsigned queued;

		if (s->listener.address.kind != ADDRESS_TCP || !sharing->diag || !is_untold(s))
			continue;
		queued = sides_waiting(s, 0); /* this first: it is rather too many than too few that are counted */
		if (diag_clients(sharing->diag, s->listener.address.port, false, &clients) < 0)
			continue;
		sum += clients.connections > queued ? clients.connections - queued : 0;
	}
	return sum;
}

/* Between two looks it is as many as then and all that were handed over since: never too few. */
static unsigned count_untold(struct sharing *sharing, unsigned most)
{
	struct ceiling *ceiling = &sharing->ceiling;
	uint64_t now = uv_now(sharing->loop), since = ceiling->handed - ceiling->handed_then, start;

	if (ceiling->open_then + since < most || (ceiling->looked_ms && now < ceiling->next_ms))
		return ceiling->open_then + (unsigned)since;
	start = uv_hrtime();
	ceiling->open_then = count_of_ports(sharing);
	ceiling->handed_then = ceiling->handed;
	ceiling->looked_ms = now;
	/* A look walks over every TCP socket of the machine: at most a twentieth of the time goes into it. */
	ceiling->next_ms = now + CEILING_AGAIN_MS + (uv_hrtime() - start) * 20 / 1000000;
	return ceiling->open_then;
}

void ceiling_on_handed(struct receiver *r)
{
	unsigned ignored;

	if (r->sharing->settings->max_connections && !says_all(r, &ignored))
		r->sharing->ceiling.handed++;
}

bool ceiling_is_reached(struct sharing *sharing)
{
	unsigned most = sharing->settings->max_connections, told;

	if (most == 0)
		return false;
	told = count_told(sharing) + count_waiting(sharing);
	return told >= most || told + count_untold(sharing, most - told) >= most;
}
