#include "program/named.h"

#include "net/owner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_any_host(const char *host)
{
	return !host[0] || strcmp(host, "::") == 0 || strcmp(host, "0.0.0.0") == 0;
}

/* One text for each host; one with an interface is left as it is. */
static void canonical(const struct address *a, char host[ADDRESS_HOST_MAX])
{
	struct in6_addr binary;
	int family = strchr(a->host, ':') ? AF_INET6 : AF_INET;

	memcpy(host, a->host, sizeof(a->host));
	if (inet_pton(family, a->host, &binary) == 1)
		inet_ntop(family, &binary, host, ADDRESS_HOST_MAX);
}

bool named_is(const struct address *named, const struct address *a)
{
	char one[ADDRESS_HOST_MAX], other[ADDRESS_HOST_MAX];

	if (named->kind != a->kind)
		return false;
	if (a->kind == ADDRESS_UNIX)
		return strcmp(named->path, a->path) == 0;
	canonical(named, one);
	canonical(a, other);
	/* A program that names no host gets [::], or 0.0.0.0 where there is no IPv6: either name is meant. */
	return named->port == a->port &&
	       (strcmp(one, other) == 0 || (is_any_host(one) && is_any_host(other) && (!one[0] || !other[0])));
}

/* At any interface, if it names none. */
static bool names(const struct address *named, const struct address *a)
{
	struct address plain = *a;

	if (!strchr(named->host, '%'))
		plain.host[strcspn(plain.host, "%")] = '\0';
	return named_is(named, &plain);
}

bool named_find(char *const *listen, const struct address *a, struct address *ret)
{
	const char *why;

	for (; listen && *listen; listen++)
		if (address_parse(*listen, ret, &why) == 0 && names(ret, a))
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
		memcpy(options->owner, named->owner, sizeof(options->owner));
}

void named_apply(bool is_other_user, const struct umbel_settings *s, struct address *a)
{
	struct address_options *o = &a->options;
	struct address named;

	if (is_other_user)
		snprintf(o->owner, sizeof(o->owner), s->gid >= 0 ? "%lld:%lld" : "%lld", (long long)s->uid,
			 (long long)s->gid);
	if (named_find(s->listen, a, &named))
		named_merge(o, &named.options);
}

int named_check(char *const *addresses, const char *field, struct reason *reason)
{
	struct address a;
	const char *why;
	uid_t uid;
	gid_t gid;

	for (; addresses && *addresses; addresses++) {
		if (address_parse(*addresses, &a, &why) < 0)
			return reason_set(reason, -EINVAL, "%s: '%s': %s", field, *addresses, why);
		if (a.options.owner[0] && owner_find(a.options.owner, &uid, &gid) < 0)
			return reason_set(reason, -EINVAL, "%s: '%s': there is no such user or group", field, *addresses);
	}
	return 0;
}
