/* policy: the names of policies, and which one a listener can have. Pure. */
#ifndef UMBEL_PRIMARY_POLICY_H
#define UMBEL_PRIMARY_POLICY_H

#include "umbel.h"

const char *policy_name(enum umbel_policy p); /* "rr" */
bool policy_from_name(const char *name, enum umbel_policy *ret); /* false: there is no such one */

#endif
