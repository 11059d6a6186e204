#include "wire/lenient.h"

#include <stdlib.h>
#include <string.h>

/* The surrogate that is written at text, an escape; 0: another one. */
static unsigned surrogate_at(const char *text, size_t len)
{
	char digits[5] = "";
	unsigned long code;

	if (len < 6 || text[0] != '\\' || text[1] != 'u')
		return 0;
	memcpy(digits, text + 2, 4);
	code = strtoul(digits, NULL, 16);
	return code >= 0xd800 && code <= 0xdfff ? (unsigned)code : 0;
}

/* Half a pair has no UTF-8, and jansson refuses it. As everywhere else in Node it becomes U+FFFD. */
static void replace_lone_surrogates(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned first, second;

		if (text[i] != '\\')
			continue;
		first = surrogate_at(text + i, len - i);
		second = first && first < 0xdc00 && i + 6 < len ? surrogate_at(text + i + 6, len - i - 6) : 0;
		if (second >= 0xdc00)
			i += 11;
		else if (first)
			memcpy(text + i + 2, "fffd", 4);
		else
			i++; /* what is escaped is not looked at */
	}
}

json_t *lenient_load(const char *text, size_t len, json_error_t *error)
{
	char *copy = malloc(len + 1);
	json_t *tree;

	if (!copy)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	replace_lone_surrogates(copy, len);
	tree = json_loadb(copy, len, JSON_ALLOW_NUL, error);
	if (!tree)
		tree = json_loadb(copy, len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, error);
	free(copy);
	return tree;
}
