/* What the user says of policies: cluster.h. */
#include "primary/cluster.h"
#include "primary/settings.h"

#include <errno.h>

int cluster_set_policy(struct cluster *c, const char *address, enum umbel_policy p)
{
	return reason_set(c->reason, -ENOTSUP, "not yet");
}

enum umbel_policy cluster_policy(const struct cluster *c, const char *address)
{
	return settings_policy(&c->settings);
}

int cluster_choose(struct cluster *c, const char *address, umbel_chooser *f, void *data)
{
	return reason_set(c->reason, -ENOTSUP, "not yet");
}
