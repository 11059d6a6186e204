/* What a program is: by its name, its real name, its #! line. */
#include "program/kind.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
	const char *name, *first_line;
	enum kind expected;
	const char *why;
} scripts[] = {
    {"app", "#!/usr/bin/env node", KIND_NODE, "#! line"},
    {"app", "#!/usr/bin/node", KIND_NODE, "#! line"},
    {"app", "#! /usr/local/bin/node --flag", KIND_NODE, "#! line"},
    {"app", "#!/usr/bin/env -S node --flag", KIND_NODE, "#! line"},
    {"app", "#!/usr/bin/env A=1 node", KIND_NODE, "#! line"},
    {"app", "#!/usr/bin/env python3", KIND_INTERCEPT, "not Node's"},
    {"app", "#!/bin/sh", KIND_INTERCEPT, "not Node's"},
    {"app", "#!", KIND_INTERCEPT, "not Node's"},
    {"app", "#!/usr/bin/env", KIND_INTERCEPT, "not Node's"},
    {"app", "console.log('#!node')", KIND_INTERCEPT, "not Node's"},
    {"app", "", KIND_INTERCEPT, "not Node's"},
    {"npm", "#!/usr/bin/env node", KIND_INTERCEPT, "npm is a launcher"}, /* its child is the worker */
    {"npx", "#!/usr/bin/env node", KIND_INTERCEPT, "npx is a launcher"},
    {"/usr/local/bin/tsx", "", KIND_INTERCEPT, "tsx is a launcher"},
    {"nodemon", "#!/bin/sh", KIND_INTERCEPT, "not Node's"},
};

static void test_scripts(void **state)
{
	char path[] = "/tmp/umbel-kind-XXXXXX";
	const char *why;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		size_t len = strlen(scripts[i].first_line);

		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, scripts[i].first_line, len, 0), len);
		assert_int_equal(kind_of_program(scripts[i].name, path, NULL, &why), scripts[i].expected);
		assert_non_null(strstr(why, scripts[i].why));
	}
	close(fd);
	unlink(path);
}

/* Behind a link of any name it is what it really is. */
static void test_real_name(void **state)
{
	char dir[] = "/tmp/umbel-kind-XXXXXX", node[64], link[64];
	const char *why;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(node, sizeof(node), "%s/node", dir);
	snprintf(link, sizeof(link), "%s/runtime", dir);
	f = fopen(node, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(symlink(node, link), 0);
	assert_int_equal(kind_of_program("runtime", link, NULL, &why), KIND_NODE);
	assert_string_equal(why, "the program is node");
	assert_int_equal(kind_of_program("runtime", link, (char *[]){"runtime", "-e", "1", NULL}, &why), KIND_INTERCEPT);
	assert_int_equal(kind_of_program("runtime", link, (char *[]){"runtime", "app.js", "-e", NULL}, &why), KIND_NODE);
	unlink(link);
	unlink(node);
	rmdir(dir);
}

static void test_names(void **state)
{
	enum kind kind;

	(void)state;
	for (int k = KIND_AUTO; k <= KIND_NONE; k++) {
		assert_int_equal(kind_from_name(kind_name((enum kind)k), &kind), 0);
		assert_int_equal(kind, k);
	}
	assert_int_equal(kind_from_name("nodes", &kind), -EINVAL);
	assert_int_equal(kind_from_name("", &kind), -EINVAL);
}

/* What asks us before it listens. */
static void test_held(void **state)
{
	(void)state;
	assert_true(kind_can_be_held(KIND_NODE));
	assert_true(kind_can_be_held(KIND_CHANNEL));
	assert_true(kind_can_be_held(KIND_INTERCEPT));
	assert_false(kind_can_be_held(KIND_LISTEN_FDS));
	assert_false(kind_can_be_held(KIND_NONE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scripts),
	    cmocka_unit_test(test_real_name),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
