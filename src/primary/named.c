#include "primary/named.h"

#include <errno.h>
#include <string.h>

static bool is_any_host(const struct address *a)
{
	return !a->host[0] || strcmp(a->host, "::") == 0 || strcmp(a->host, "0.0.0.0") == 0;
}

static bool is_same(const struct address *named, const struct address *a)
{
	if (named->kind != a->kind)
		return false;
	if (a->kind == ADDRESS_UNIX)
		return strcmp(named->path, a->path) == 0;
	return named->port == a->port &&
	       (named->host[0] ? strcmp(named->host, a->host) == 0 : is_any_host(a));
}

bool named_find(char *const *listen, const struct address *a, struct address *ret)
{
	const char *why;

	for (; listen && *listen; listen++)
		if (address_parse(*listen, ret, &why) == 0 && is_same(ret, a))
			return true;
	return false;
}

void named_merge(struct address_options *options, const struct address_options *named)
{
	if (named->backlog)
		options->backlog = named->backlog;
	if (named->ipv6_only)
		options->ipv6_only = true;
	if (named->defer_accept)
		options->defer_accept = named->defer_accept;
	if (named->fast_open)
		options->fast_open = named->fast_open;
	if (named->mode)
		options->mode = named->mode;
	if (named->shared)
		options->shared = true;
	if (named->owner[0])
		strcpy(options->owner, named->owner);
}

int named_check(char *const *listen, struct reason *reason)
{
	struct address a;
	const char *why;

	for (; listen && *listen; listen++)
		if (address_parse(*listen, &a, &why) < 0)
			return reason_set(reason, -EINVAL, "settings.listen: '%s': %s", *listen, why);
	return 0;
}
