/* The request "policy": which one each listener has, and switching it. */
#include "admin/parts.h"
#include "admin/report.h"
#include "base/address.h"
#include "private.h"

#include <stdio.h>
#include <string.h>

/* What is asked, checked. */
struct asked {
	enum umbel_policy policy;
	bool switches;       /* else it only looks */
	const char *address; /* of the one listener that is meant; NULL: all of them */
};

static struct umbel *umbel_of(const struct client *c)
{
	return c->control->report->umbel;
}

/* ---- listeners ---- */

struct listing {
	const char *wanted; /* the address of one, as it was written; NULL: all */
	json_t *listeners;
	char others[400]; /* "tcp://[::]:8000, unix:///run/a.sock" */
};

/* "tcp://:8000" is [::], or 0.0.0.0 where there is no IPv6. */
static bool is_same(const char *wanted, const char *address)
{
	struct address a, b;
	const char *why;

	if (strcmp(wanted, address) == 0)
		return true;
	if (address_parse(wanted, &a, &why) < 0 || address_parse(address, &b, &why) < 0 || a.kind != b.kind)
		return false;
	if (a.kind == ADDRESS_UNIX)
		return strcmp(a.path, b.path) == 0;
	if (a.port != b.port)
		return false;
	return a.family == AF_UNSPEC ? strcmp(b.host, "::") == 0 || strcmp(b.host, "0.0.0.0") == 0
				     : a.family == b.family && strcmp(a.host, b.host) == 0;
}

static void add_listener(const struct umbel_listener_info *info, void *data)
{
	struct listing *l = data;
	size_t len = strlen(l->others);

	snprintf(l->others + len, sizeof(l->others) - len, "%s%s", len ? ", " : "", info->address);
	if (!l->wanted || is_same(l->wanted, info->address))
		json_array_append_new(l->listeners, json_pack("{ss ss}", "address", info->address, "policy",
							      info->policy));
}

/* Those that are meant, each with its address and policy: a new reference, or NULL: it has been refused. */
static json_t *find_listeners(struct client *c, const struct asked *asked)
{
	struct listing l = {.wanted = asked->address, .listeners = json_array()};
	char why[640];

	private_each_listener(umbel_of(c), add_listener, &l);
	if (!asked->address || json_array_size(l.listeners) > 0)
		return l.listeners;
	json_decref(l.listeners);
	snprintf(why, sizeof(why), "no listener %.200s; there %s%s", asked->address,
		 l.others[0] ? "are " : "is none yet", l.others);
	client_refuse(c, why, "");
	return NULL;
}

static const char *address_of(const json_t *listener)
{
	return json_string_value(json_object_get(listener, "address"));
}

/* ---- switching ---- */

/* What a listener has now, and when that is not what was wanted, why. */
static void note_outcome(struct client *c, json_t *listener, enum umbel_policy wanted)
{
	const char *address = address_of(listener);
	enum umbel_policy now = umbel_policy(umbel_of(c), address);
	/* The app's was switched where that can be. Asked for by itself, one that kept its own says why. */
	bool kept = now != wanted && umbel_set_policy(umbel_of(c), address, wanted) < 0;

	json_object_set(listener, "was", json_object_get(listener, "policy"));
	json_object_set_new(listener, "policy", json_string(private_policy_name(kept ? now : wanted)));
	json_object_set_new(listener, "why", kept ? report_text(umbel_reason(umbel_of(c))) : json_null());
}

/* 0, or -errno with a reason. */
static int set_policy(struct umbel *u, const struct asked *asked, const json_t *listeners)
{
	const json_t *each;
	size_t i;
	int err = 0;

	if (!asked->address)
		return umbel_set_policy(u, NULL, asked->policy);
	json_array_foreach (listeners, i, each)
		err = err ? err : umbel_set_policy(u, address_of(each), asked->policy);
	return err;
}

static void switch_policy(struct client *c, const struct asked *asked, json_t *listeners)
{
	const char *was = private_policy(umbel_of(c));
	json_t *each;
	size_t i;

	if (set_policy(umbel_of(c), asked, listeners) < 0) {
		client_refuse(c, umbel_reason(umbel_of(c)), "");
		return;
	}
	json_array_foreach (listeners, i, each)
		note_outcome(c, each, asked->policy);
	client_send(c, json_pack("{sb ss ss sO}", "ok", 1, "policy", private_policy(umbel_of(c)), "was", was,
				 "listeners", listeners));
}

/* ---- the request ---- */

/* False: it has been refused. */
static bool read_request(struct client *c, const json_t *request, struct asked *ret)
{
	const json_t *policy = json_object_get(request, "policy"), *listener = json_object_get(request, "listener");

	if ((policy && !json_is_string(policy)) || (listener && !json_is_string(listener))) {
		client_refuse(c, "policy: \"policy\" is a name, \"listener\" an address", "");
		return false;
	}
	*ret = (struct asked){.switches = policy, .address = json_string_value(listener)};
	if (policy && (!private_policy_from_name(json_string_value(policy), &ret->policy) ||
		       ret->policy == UMBEL_AUTO)) {
		client_refuse(c, "unknown policy; it must be " PRIVATE_POLICY_NAMES "; this was ",
			      json_string_value(policy));
		return false;
	}
	return true;
}

void policies_answer(struct client *c, const json_t *request)
{
	struct asked asked;
	json_t *listeners = read_request(c, request, &asked) ? find_listeners(c, &asked) : NULL;

	if (!listeners)
		return;
	if (asked.switches)
		switch_policy(c, &asked, listeners);
	else
		client_send(c, json_pack("{sb ss sO}", "ok", 1, "policy", private_policy(umbel_of(c)), "listeners",
					 listeners));
	json_decref(listeners);
}
