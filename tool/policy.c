/* policy: the verb. Which policy each listener has, and switching it. */
#include "client.h"
#include "private.h"
#include "tool.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct policy_options {
	const char *app, *policy, *listener; /* the latter two may be NULL */
	bool json;
};

/* ---- options ---- */

static int take_words(int argc, char **argv, struct policy_options *o)
{
	enum umbel_policy known;

	if (argc - optind > 2)
		return complain("policy: one word too many: %s", argv[optind + 2]);
	o->app = argv[optind];
	if (!o->app)
		return complain("policy: which app? 'umbel list' shows those that run");
	if (!is_name(o->app))
		return complain("'%s' is no name of an app: letters, digits, _ . -", o->app);
	o->policy = argv[optind + 1];
	if (o->policy && (!private_policy_from_name(o->policy, &known) || known == UMBEL_AUTO))
		return complain("policy %s: it must be " PRIVATE_POLICY_NAMES, o->policy);
	return 0;
}

static int parse(int argc, char **argv, struct policy_options *o)
{
	static const struct option options[] = {
	    {"listener", required_argument, NULL, 'l'}, {"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (option == ':')
			return complain("policy: %s needs a value", argv[optind - 1]);
		if (option == '?')
			return complain("policy: unknown option %s; it knows --listener and --json",
					argv[optind - 1]);
		o->json |= option == 'j';
		o->listener = option == 'l' ? optarg : o->listener;
	}
	return take_words(argc, argv, o);
}

/* NULL: what was typed is not UTF-8, so there is no such one. */
static char *make_request(const struct policy_options *o)
{
	json_t *request = json_pack("{ss ss* ss*}", "request", "policy", "policy", o->policy, "listener",
				    o->listener);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;

	json_decref(request);
	return text;
}

/* ---- what is printed ---- */

/* A reason may begin with what it is about, which has been printed then. */
static const char *without(const char *prefix, const char *text)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) == 0 && text[len] == ' ' ? text + len + 1 : text;
}

static void print_line(const char *of, const char *infix, const json_t *object)
{
	printf("%s: %s%s", of, infix, clean_text(object, "policy"));
	if (strcmp(clean_text(object, "was"), clean_text(object, "policy")) != 0 && json_object_get(object, "was"))
		printf(", %s before", clean_text(object, "was"));
	if (clean_text(object, "why")[0])
		printf(", as before: %s", without(of, clean_text(object, "why")));
	putchar('\n');
}

static void print_answer(const struct policy_options *o, const json_t *answer)
{
	const json_t *each;
	size_t i;

	if (!o->listener)
		print_line(o->app, "policy ", answer);
	json_array_foreach (json_object_get(answer, "listeners"), i, each) {
		char address[1024];

		snprintf(address, sizeof(address), "%s", clean_text(each, "address"));
		print_line(address, "", each);
	}
}

static int policy_verb(int argc, char **argv)
{
	struct policy_options o = {.app = NULL};
	struct channel channel;
	json_t *answer;
	char *request;
	int status = parse(argc, argv, &o);

	if (status)
		return status;
	request = make_request(&o);
	if (!request)
		return complain("policy: --listener must be UTF-8");
	status = client_ask_app(o.app, request, &channel, &answer);
	free(request);
	if (status)
		return status;
	channel_close(&channel);
	if (o.json) {
		json_object_del(answer, "ok");
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_answer(&o, answer);
	}
	json_decref(answer);
	return EXIT_DONE;
}

const struct verb verb_policy = {
    "policy", policy_verb, "policy NAME [rr|least|sticky|spread] [--listener ADDRESS] [--json]",
    "shows how connections find their workers, or switches it; none is lost\n"
    "    --listener ADDRESS  only there; else everywhere where it can be, and says where it cannot"};
