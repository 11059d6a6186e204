/* address_options: what follows the "?" of an address, and back. Pure. */
#include "base/address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Digits only, all of it, from 1 to most; 0: it is none. */
static int parse_number(const char *text, size_t len, int base, int most)
{
	int number = 0;

	if (len == 0 || len > 9)
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] >= '0' + base)
			return 0;
		number = number * base + (text[i] - '0');
	}
	return number <= most ? number : 0;
}

static const char *set_backlog(struct address_options *o, const char *value, size_t len)
{
	o->backlog = parse_number(value, len, 10, 65535);
	return o->backlog ? NULL : "backlog must be a number from 1 to 65535";
}

static const char *set_ipv6_only(struct address_options *o, const char *value, size_t len)
{
	o->ipv6_only = true;
	return value ? "ipv6_only takes no value" : NULL;
}

static const char *set_shared(struct address_options *o, const char *value, size_t len)
{
	o->shared = true;
	return value ? "shared takes no value" : NULL;
}

static const char *set_defer_accept(struct address_options *o, const char *value, size_t len)
{
	o->defer_accept = parse_number(value, len, 10, 60);
	return o->defer_accept ? NULL : "defer_accept must be a number of seconds from 1 to 60";
}

static const char *set_fast_open(struct address_options *o, const char *value, size_t len)
{
	o->fast_open = parse_number(value, len, 10, 65535);
	return o->fast_open ? NULL : "fast_open must be a number from 1 to 65535";
}

static const char *set_mode(struct address_options *o, const char *value, size_t len)
{
	o->mode = parse_number(value, len, 8, 0777);
	return o->mode ? NULL : "mode must be an octal number from 0001 to 0777";
}

/* Who that is only the binder knows: base asks nobody. */
static const char *set_owner(struct address_options *o, const char *value, size_t len)
{
	static const char why[] = "owner must be USER or USER:GROUP, names or numbers, 127 bytes at most";
	const char *colon;

	if (len == 0 || len >= sizeof(o->owner) || value[0] == ':' || value[len - 1] == ':')
		return why;
	colon = memchr(value, ':', len);
	if (colon && memchr(colon + 1, ':', len - (size_t)(colon + 1 - value)))
		return why;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)value[i] <= ' ' || value[i] == 0x7f)
			return why;
	memcpy(o->owner, value, len);
	o->owner[len] = '\0';
	return NULL;
}

enum { TCP = 1 << ADDRESS_TCP, UNIX = 1 << ADDRESS_UNIX, UDP = 1 << ADDRESS_UDP };

/* In the order in which they are printed. */
static const struct {
	const char *name;
	unsigned kinds;
	const char *(*set)(struct address_options *o, const char *value, size_t len); /* what is wrong */
} options[] = {
    {"backlog", TCP | UNIX, set_backlog},    {"ipv6_only", TCP | UDP, set_ipv6_only},
    {"defer_accept", TCP, set_defer_accept}, {"fast_open", TCP, set_fast_open},
    {"mode", UNIX, set_mode},                {"owner", UNIX, set_owner},
    {"shared", TCP | UNIX | UDP, set_shared},
};

static const char *const unknown[] = {
    [ADDRESS_TCP] = "the options of tcp are backlog=N, ipv6_only, defer_accept=SECONDS, fast_open=N and shared, "
		    "joined by &",
    [ADDRESS_UNIX] = "the options of unix are backlog=N, mode=OCTAL, owner=USER:GROUP and shared, joined by &",
    [ADDRESS_UDP] = "the options of udp are ipv6_only and shared, joined by &",
};

static const char *parse_one(const char *text, size_t len, struct address *a, unsigned *seen)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;
	const char *value = equals ? equals + 1 : NULL;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (strlen(options[i].name) != name_len || memcmp(options[i].name, text, name_len) != 0)
			continue;
		if (!(options[i].kinds & 1u << a->kind))
			break;
		if (*seen & 1u << i)
			return "an option may be given once";
		*seen |= 1u << i;
		return options[i].set(&a->options, value, value ? len - name_len - 1 : 0);
	}
	return unknown[a->kind];
}

int address_parse_options(const char *text, struct address *ret, const char **why)
{
	struct address a = *ret;
	unsigned seen = 0;
	const char *wrong;

	a.options = (struct address_options){0};
	for (;;) {
		size_t len = strcspn(text, "&");

		wrong = parse_one(text, len, &a, &seen);
		if (wrong || !text[len])
			break;
		text += len + 1;
	}
	if (!wrong && a.options.ipv6_only && a.family == AF_INET)
		wrong = "ipv6_only needs an IPv6 host, or none";
	if (!wrong && address_is_abstract(&a) && (a.options.mode || a.options.owner[0]))
		wrong = "an abstract name has no file: no mode and no owner";
	if (wrong) {
		*why = wrong;
		return -EINVAL;
	}
	ret->options = a.options;
	return 0;
}

char *address_format_options(const struct address_options *o, char *out, size_t size)
{
	char parts[7][sizeof(o->owner) + 8] = {""};
	size_t len = 0;

	if (o->backlog)
		snprintf(parts[0], sizeof(parts[0]), "backlog=%d", o->backlog);
	if (o->ipv6_only)
		snprintf(parts[1], sizeof(parts[1]), "ipv6_only");
	if (o->defer_accept)
		snprintf(parts[2], sizeof(parts[2]), "defer_accept=%d", o->defer_accept);
	if (o->fast_open)
		snprintf(parts[3], sizeof(parts[3]), "fast_open=%d", o->fast_open);
	if (o->mode)
		snprintf(parts[4], sizeof(parts[4]), "mode=%04o", (unsigned)o->mode);
	if (o->owner[0])
		snprintf(parts[5], sizeof(parts[5]), "owner=%s", o->owner);
	if (o->shared)
		snprintf(parts[6], sizeof(parts[6]), "shared");
	out[0] = '\0';
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (parts[i][0] && len < size)
			len += (size_t)snprintf(out + len, size - len, "%s%s", len ? "&" : "", parts[i]);
	return out;
}
