/* policy: the names of policies, and which one a listener can have, by its kind and form. Pure. */
#ifndef UMBEL_SHARE_POLICY_H
#define UMBEL_SHARE_POLICY_H

#include "base/address.h"
#include "umbel.h"

/* Who has the socket of a share. */
enum share_form {
	SHARE_PLAIN, /* the primary, which accepts */
	SHARE_LENT,  /* every worker has the one socket, and nothing is handed over */
	SHARE_GROUP, /* each worker has one of its slot's (sides.h); of tcp the primary has a door */
};

const char *policy_name(enum umbel_policy p); /* "rr" */
bool policy_from_name(const char *name, enum umbel_policy *ret); /* false: there is no such one */

bool policy_is_steered(enum umbel_policy p); /* the kernel chooses, by our program */
bool policy_is_handed(enum umbel_policy p);  /* the primary accepts */

/* Whether a listener of that kind and form can have it. *why: a sentence if not. */
bool policy_is_possible(enum umbel_policy p, enum address_kind kind, enum share_form form, const char **why);

/* What the app's policy is for a listener: itself, else its default. */
enum umbel_policy policy_for(enum umbel_policy app, enum address_kind kind, enum share_form form);

#endif
