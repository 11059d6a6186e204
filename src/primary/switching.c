/* What the user says of policies, and of the slots that they need: cluster.h. */
#include "life/worker.h"
#include "primary/cluster.h"
#include "program/settings.h"
#include "share/counting.h"
#include "share/policy.h"

#include <errno.h>
#include <string.h>

/* ---- may it be? ---- */

/* A worker that accepts from its own socket takes nothing from the primary. */
static const struct umbel_worker *deaf_worker(const struct share *s)
{
	for (unsigned i = 0; i < s->seat_count; i++)
		if (s->seats[i].accepts)
			return s->seats[i].receiver->worker;
	return NULL;
}

static int check(struct cluster *c, const struct share *s, enum umbel_policy p)
{
	const struct umbel_worker *deaf = policy_is_handed(p) ? deaf_worker(s) : NULL;
	const char *why;

	if (!policy_is_possible(p, s->listener.address.kind, s->form, &why))
		return reason_set(c->reason, -ENOTSUP, "%s cannot have policy %s: %s", s->address, policy_name(p), why);
	if (deaf || (policy_is_handed(p) && s->accept_alone))
		return reason_set(c->reason, -ENOTSUP, "%s cannot have policy %s: its workers accept by themselves, so that "
				  "nothing can be handed over to them", s->address, policy_name(p));
	return 0;
}

static int check_app(struct cluster *c, enum umbel_policy p)
{
	if (policy_is_steered(p) && cluster_wanted(c) > UMBEL_STEERED_SLOTS_MAX)
		return reason_set(c->reason, -ENOTSUP, "policy %s: at most %d slots can be steered to, there are %d",
				  policy_name(p), UMBEL_STEERED_SLOTS_MAX, cluster_wanted(c));
	if (!policy_is_handed(p) && (c->settings.max_connections || c->settings.recycle_connections))
		return reason_set(c->reason, -ENOTSUP, "policy %s: %s needs connections to be counted, as under rr "
				  "and least", policy_name(p),
				  c->settings.max_connections ? "a limit of max_connections" : "recycle_connections");
	return 0;
}

/* ---- switching ---- */

static void apply(struct share *s, enum umbel_policy p)
{
	if (s->policy == p)
		return;
	events_add_note(s->sharing->events, 0, "policy", "%s: %s, %s before", s->address, policy_name(p),
			policy_name(s->policy));
	s->policy = p;
	for (unsigned i = 0; i < s->seat_count; i++)
		counting_update(s->seats[i].receiver);
	steering_update(s);
}

static struct share *find(const struct cluster *c, const char *address)
{
	char text[ADDRESS_TEXT_MAX];
	struct address a;
	const char *why;
	struct share *s;

	if (address_parse(address, &a, &why) < 0)
		return NULL;
	address_format(&a, text, sizeof(text));
	TAILQ_FOREACH (s, &c->crew.sharing.shares, link)
		if (strcmp(s->address, text) == 0 ||
		    (a.family == AF_UNSPEC && a.kind == s->listener.address.kind && a.port == s->listener.address.port))
			return s;
	return NULL;
}

static int no_such_listener(struct cluster *c, const char *address)
{
	return reason_set(c->reason, -ENOENT, "nobody listens on %s", address);
}

static int set_all(struct cluster *c, enum umbel_policy p)
{
	bool any = false, changed = false;
	struct share *s;
	int err = 0;

	TAILQ_FOREACH (s, &c->crew.sharing.shares, link) {
		any = true;
		err = check(c, s, p);
		if (err && deaf_worker(s))
			return err;
		changed |= !err;
	}
	if (any && !changed)
		return err; /* the last one's reason */
	c->settings.policy = p;
	TAILQ_FOREACH (s, &c->crew.sharing.shares, link) {
		const char *why;

		if (policy_is_possible(p, s->listener.address.kind, s->form, &why))
			apply(s, p);
		else
			cluster_note(c, 0, "policy", "%s keeps %s: %s", s->address, policy_name(s->policy), why);
	}
	return 0;
}

int cluster_set_policy(struct cluster *c, const char *address, enum umbel_policy p)
{
	struct share *s;
	int err;

	if ((int)p < UMBEL_AUTO || p > UMBEL_SHARED)
		return reason_set(c->reason, -EINVAL, "policy %d: no UMBEL_AUTO to UMBEL_SHARED", (int)p);
	if (p == UMBEL_AUTO)
		p = settings_policy(&(struct umbel_settings){.policy = UMBEL_AUTO});
	err = check_app(c, p);
	if (err)
		return err;
	if (!address)
		return set_all(c, p);
	s = find(c, address);
	if (!s)
		return no_such_listener(c, address);
	err = check(c, s, p);
	if (!err)
		apply(s, p);
	return err;
}

enum umbel_policy cluster_policy(const struct cluster *c, const char *address)
{
	const struct share *s = address ? find(c, address) : NULL;

	return s ? s->policy : settings_policy(&c->settings);
}

/* ---- a chooser ---- */

static int check_chooser(struct cluster *c, const struct share *s)
{
	const struct umbel_worker *deaf = deaf_worker(s);

	if (!share_accepts(s))
		return reason_set(c->reason, -ENOTSUP, "%s: nobody can choose, its workers have the socket", s->address);
	if (deaf)
		return reason_set(c->reason, -ENOTSUP, "%s: nobody can choose, worker %u accepts by itself", s->address,
				  deaf->receiver.id);
	return 0;
}

static void set_chooser(struct share *s, umbel_chooser *f, void *data)
{
	s->chooser = f;
	s->chooser_data = data;
	steering_update(s);
}

int cluster_choose(struct cluster *c, const char *address, umbel_chooser *f, void *data)
{
	struct share *s = address ? find(c, address) : NULL;
	int err;

	if (address && !s)
		return no_such_listener(c, address);
	err = s && f ? check_chooser(c, s) : 0;
	if (err)
		return err;
	if (s) {
		set_chooser(s, f, data);
		return 0;
	}
	c->crew.sharing.chooser = f;
	c->crew.sharing.chooser_data = data;
	TAILQ_FOREACH (s, &c->crew.sharing.shares, link)
		if (share_accepts(s) && !deaf_worker(s))
			set_chooser(s, f, data);
	return 0;
}

/* ---- slots ---- */

int cluster_check_slots(struct cluster *c, int wanted)
{
	const struct share *s;
	bool steered = policy_is_steered(settings_policy(&c->settings));

	TAILQ_FOREACH (s, &c->crew.sharing.shares, link)
		steered |= policy_is_steered(s->policy);
	if (steered && wanted > UMBEL_STEERED_SLOTS_MAX)
		return reason_set(c->reason, -EINVAL, "%d workers: at most %d can be steered to; with policy rr, least or "
				  "shared there may be more", wanted, UMBEL_STEERED_SLOTS_MAX);
	return 0;
}

void cluster_slots_changed(struct cluster *c)
{
	sharing_trim(&c->crew.sharing);
	steering_update_all(&c->crew.sharing);
	reload_consider(c);
	spares_update(c);
}
