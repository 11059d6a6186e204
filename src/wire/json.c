/* json: the scanner. A loop instead of recursion, so that no message can exhaust the stack. */
#include "wire/json.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

struct scan {
	const char *at;
	const char *end;
	unsigned depth;                        /* containers open now */
	uint64_t objects[JSON_MAX_DEPTH / 64]; /* bit d-1: the container at depth d is an object */
	struct json_top top;
	struct json_span *member; /* where the current top-level member's value belongs, or NULL */
	const char *value;        /* where that value begins */
};

/* The next byte, 0 at the end: a NUL is allowed nowhere, so nobody needs to tell the two apart. */
static inline char peek(const struct scan *s)
{
	return s->at < s->end ? *s->at : 0;
}

static inline bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline void skip_space(struct scan *s)
{
	while (s->at < s->end && is_space(*s->at))
		s->at++;
}

/* ---- strings ---- */

#define EACH_BYTE(value) (~(uint64_t)0 / 255 * (value))

/* Is one of these eight bytes a quote, a backslash or a control character? Nearly all bytes of the
 * wire lie in strings, hence eight at a time. A subtraction borrows into the top bit of a byte that
 * is too small; a borrow can spill over, but only from a byte that was a hit itself. */
static inline bool has_special(uint64_t word)
{
	uint64_t quote = word ^ EACH_BYTE('"');
	uint64_t backslash = word ^ EACH_BYTE('\\');
	uint64_t hits = ((quote - EACH_BYTE(1)) & ~quote) |
			((backslash - EACH_BYTE(1)) & ~backslash) |
			((word - EACH_BYTE(0x20)) & ~word);

	return hits & EACH_BYTE(0x80);
}

static inline const char *skip_plain(const char *p, const char *end)
{
	uint64_t word;

	for (; end - p >= (ptrdiff_t)sizeof(word); p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		if (has_special(word))
			break;
	}
	while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
		p++;
	return p;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The escape at p (its backslash): returns what follows it and sets its UTF-16 unit, or NULL. */
static const char *read_escape(const char *p, const char *end, int *unit)
{
	static const char names[] = "\"\\/bfnrt", units[] = "\"\\/\b\f\n\r\t";
	const char *name;
	int digit;

	if (end - p < 2)
		return NULL;
	if (p[1] != 'u') {
		name = memchr(names, p[1], sizeof(names) - 1);
		if (!name)
			return NULL;
		*unit = units[name - names];
		return p + 2;
	}
	if (end - p < 6)
		return NULL;
	*unit = 0;
	for (int i = 2; i < 6; i++) {
		digit = hex_digit(p[i]);
		if (digit < 0)
			return NULL;
		*unit = *unit << 4 | digit;
	}
	return p + 6;
}

/* Surrogates need no partner: JSON.stringify() escapes lone ones and JSON.parse() takes them. */
static bool read_string(struct scan *s)
{
	const char *p = s->at + 1;
	int unit;

	for (;;) {
		p = skip_plain(p, s->end);
		if (p == s->end)
			return false;
		if (*p == '"')
			break;
		if (*p != '\\')
			return false; /* a control character */
		p = read_escape(p, s->end, &unit);
		if (!p)
			return false;
	}
	s->at = p + 1;
	return true;
}

/* ---- other scalars ---- */

static bool read_word(struct scan *s, const char *word, size_t len)
{
	if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
		return false;
	s->at += len;
	return true;
}

static bool read_digits(struct scan *s)
{
	const char *first = s->at;

	while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
		s->at++;
	return s->at > first;
}

static bool read_number(struct scan *s)
{
	if (peek(s) == '-')
		s->at++;
	if (peek(s) == '0')
		s->at++; /* a digit after it is refused as no comma or end */
	else if (!read_digits(s))
		return false;
	if (peek(s) == '.') {
		s->at++;
		if (!read_digits(s))
			return false;
	}
	if (peek(s) == 'e' || peek(s) == 'E') {
		s->at++;
		if (peek(s) == '+' || peek(s) == '-')
			s->at++;
		if (!read_digits(s))
			return false;
	}
	return true;
}

/* ---- containers ---- */

static inline bool in_object(const struct scan *s)
{
	unsigned bit = s->depth - 1;

	return s->objects[bit / 64] >> bit % 64 & 1;
}

static void push(struct scan *s, bool object)
{
	unsigned bit = s->depth++;
	uint64_t mask = (uint64_t)1 << bit % 64;

	if (object)
		s->objects[bit / 64] |= mask;
	else
		s->objects[bit / 64] &= ~mask;
}

/* "name": of a member; leaves s->at at its value. */
static bool read_name(struct scan *s)
{
	struct json_span name = {.at = s->at};

	if (peek(s) != '"' || !read_string(s))
		return false;
	name.len = (size_t)(s->at - name.at);
	skip_space(s);
	if (peek(s) != ':')
		return false;
	s->at++;
	skip_space(s);
	if (s->depth > 1)
		return true;
	s->value = s->at;
	s->member = NULL;
	if (json_string_is(name, "cmd"))
		s->member = &s->top.cmd;
	else if (json_string_is(name, "msg"))
		s->member = &s->top.msg;
	else if (json_string_is(name, "key"))
		s->member = &s->top.key;
	return true;
}

/* The value that ends here is the current top-level member's. */
static void keep_member(struct scan *s)
{
	if (s->member == &s->top.cmd && *s->value != '"')
		s->top.cmd = (struct json_span){0}; /* forgets an earlier one too */
	else if (s->member)
		*s->member = (struct json_span){.at = s->value, .len = (size_t)(s->at - s->value)};
}

/* What the caller of the next two has to do. */
enum { DUE, OVER }; /* DUE: a value begins at s->at. OVER: the value that began is complete */

static int open_container(struct scan *s, bool object)
{
	if (s->depth == JSON_MAX_DEPTH)
		return -E2BIG;
	s->at++;
	skip_space(s);
	if (peek(s) == (object ? '}' : ']')) {
		s->at++;
		return OVER;
	}
	push(s, object);
	return !object || read_name(s) ? DUE : -EINVAL;
}

static int begin_value(struct scan *s)
{
	bool good;

	switch (peek(s)) {
	case '{':
		return open_container(s, true);
	case '[':
		return open_container(s, false);
	case '"':
		good = read_string(s);
		break;
	case 't':
		good = read_word(s, "true", 4);
		break;
	case 'f':
		good = read_word(s, "false", 5);
		break;
	case 'n':
		good = read_word(s, "null", 4);
		break;
	default:
		good = read_number(s);
	}
	return good ? OVER : -EINVAL;
}

/* A value is complete: closes every container that ends with it. OVER: so is the outermost one. */
static int end_value(struct scan *s)
{
	for (; s->depth > 0; s->depth--) {
		if (s->depth == 1)
			keep_member(s);
		skip_space(s);
		if (peek(s) == ',') {
			s->at++;
			skip_space(s);
			return !in_object(s) || read_name(s) ? DUE : -EINVAL;
		}
		if (peek(s) != (in_object(s) ? '}' : ']'))
			return -EINVAL;
		s->at++;
	}
	return OVER;
}

int json_scan(const char *text, size_t len, struct json_top *ret)
{
	struct scan s = {.at = text, .end = text + len};
	int r;

	skip_space(&s);
	do {
		r = begin_value(&s);
		if (r == OVER)
			r = end_value(&s);
	} while (r == DUE);
	if (r < 0)
		return r;
	skip_space(&s);
	if (s.at != s.end)
		return -EINVAL;
	*ret = s.top;
	return 0;
}

/* ---- looking into a string ---- */

/* Returns what follows the prefix in the string, at least its closing quote; NULL without it. */
static const char *skip_prefix(struct json_span string, const char *ascii)
{
	const char *p = string.at, *end;
	int unit;

	if (!p || *p != '"')
		return NULL;
	end = p + string.len;
	for (p++; *ascii; ascii++) {
		if (*p == '"')
			return NULL;
		if (*p == '\\') {
			p = read_escape(p, end, &unit);
			if (!p)
				return NULL;
		} else {
			unit = (unsigned char)*p++;
		}
		if (unit != (unsigned char)*ascii)
			return NULL;
	}
	return p;
}

bool json_string_is(struct json_span string, const char *ascii)
{
	const char *rest = skip_prefix(string, ascii);

	return rest && *rest == '"';
}

bool json_string_starts(struct json_span string, const char *ascii)
{
	return skip_prefix(string, ascii) != NULL;
}

bool json_is_internal(const struct json_top *top)
{
	const char *rest = skip_prefix(top->cmd, "NODE_");

	return rest && *rest != '"';
}
