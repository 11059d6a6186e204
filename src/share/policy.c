#include "share/policy.h"

#include <string.h>

static const char *const names[] = {
    [UMBEL_AUTO] = "auto",     [UMBEL_RR] = "rr",         [UMBEL_LEAST] = "least",
    [UMBEL_STICKY] = "sticky", [UMBEL_SPREAD] = "spread", [UMBEL_SHARED] = "shared",
};

const char *policy_name(enum umbel_policy p)
{
	return names[p];
}

bool policy_from_name(const char *name, enum umbel_policy *ret)
{
	for (int p = UMBEL_AUTO; p <= UMBEL_SHARED; p++)
		if (strcmp(names[p], name) == 0) {
			*ret = (enum umbel_policy)p;
			return true;
		}
	return false;
}

bool policy_is_steered(enum umbel_policy p)
{
	return p == UMBEL_STICKY || p == UMBEL_SPREAD;
}

bool policy_is_handed(enum umbel_policy p)
{
	return p == UMBEL_RR || p == UMBEL_LEAST;
}

bool policy_is_possible(enum umbel_policy p, enum address_kind kind, enum share_form form, const char **why)
{
	*why = NULL;
	if (form == SHARE_LENT)
		*why = p == UMBEL_SHARED ? NULL : "its workers share one socket, which was settled when it was opened";
	else if (p == UMBEL_SHARED)
		*why = "that is settled when a listener is opened, and it was opened for another policy";
	else if (kind == ADDRESS_UDP && policy_is_handed(p))
		*why = "datagrams are never handed over (sticky and spread are possible)";
	else if (kind == ADDRESS_UNIX && policy_is_steered(p))
		*why = "the kernel cannot steer unix sockets (rr and least are possible)";
	else if (form == SHARE_PLAIN && policy_is_steered(p))
		*why = "the primary alone has its socket (rr and least are possible)";
	return !*why;
}

enum umbel_policy policy_for(enum umbel_policy app, enum address_kind kind, enum share_form form)
{
	const char *why;

	if (policy_is_possible(app, kind, form, &why))
		return app;
	if (form == SHARE_LENT)
		return UMBEL_SHARED;
	return kind == ADDRESS_UDP ? UMBEL_SPREAD : UMBEL_RR;
}
