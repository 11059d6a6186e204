#include "primary/policy.h"

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
