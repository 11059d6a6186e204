#include "program/admission.h"

#include "program/named.h"

bool admission_is_shared(const struct umbel_settings *s, const struct address *a)
{
	struct address named;

	if (a->kind == ADDRESS_UNIX || a->port == 0 || address_is_multicast(a))
		return false;
	if (a->kind == ADDRESS_UDP && !s->share_udp)
		return false;
	if (named_find(s->no_share, a, &named))
		return false;
	return !s->listen || named_find(s->listen, a, &named);
}

bool admission_is_beside(const struct umbel_settings *s, const struct address *a, struct address *ret)
{
	struct address named;
	const char *why;

	if (named_find(s->listen, a, &named) || named_find(s->no_share, a, &named))
		return false;
	for (char *const *listen = s->listen; listen && *listen; listen++)
		if (address_parse(*listen, &named, &why) == 0 && named.kind == a->kind && a->port > 0 &&
		    named.port == a->port) {
			*ret = named;
			return true;
		}
	return false;
}
