#include "wire/node.h"

#include "wire/json.h"
#include "wire/lenient.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lines ---- */

static enum node_line_kind kind_of(const struct json_top *top)
{
	if (!json_is_internal(top))
		return NODE_LINE_USER;
	if (json_string_is(top->cmd, "NODE_HANDLE_ACK"))
		return NODE_LINE_ACK;
	if (json_string_is(top->cmd, "NODE_HANDLE_NACK"))
		return NODE_LINE_NACK;
	return NODE_LINE_INTERNAL;
}

int node_read_line(const char *line, size_t len, struct node_line *ret)
{
	struct json_top top;
	struct node_line l = {.text = line, .len = len};
	int err = json_scan(line, len, &top);

	if (err)
		return err;
	l.kind = kind_of(&top);
	if (l.kind == NODE_LINE_INTERNAL && json_string_is(top.cmd, "NODE_HANDLE")) {
		if (!top.msg.at)
			return -EINVAL;
		l.has_fd = true;
		l.key = top.key.at;
		l.key_len = top.key.len;
		l.text = top.msg.at;
		l.len = top.msg.len;
		err = json_scan(l.text, l.len, &top);
		if (err)
			return err;
		l.kind = json_is_internal(&top) ? NODE_LINE_INTERNAL : NODE_LINE_USER;
	}
	*ret = l;
	return 0;
}

/* ---- from text ---- */

/* A member that is an integer in [low, high]; `none` when it is absent, null or false (Node says
 * `backlog: false`). -EINVAL for anything else. */
static int get_int(const json_t *object, const char *name, int64_t low, int64_t high, int64_t none,
		   int64_t *ret)
{
	const json_t *value = json_object_get(object, name);
	int64_t number;

	*ret = none;
	if (json_is_real(value) && !(fabs(json_real_value(value)) < 0x1p63))
		return -EINVAL;
	if (!value || json_is_null(value) || json_is_false(value))
		return 0;
	number = json_is_real(value) ? (int64_t)json_real_value(value) : json_integer_value(value);
	if (!json_is_number(value) || number < low || number > high || json_number_value(value) != (double)number)
		return -EINVAL;
	*ret = number;
	return 0;
}

static int get_small(const json_t *object, const char *name, int low, int high, int none, int *ret)
{
	int64_t value;
	int err = get_int(object, name, low, high, none, &value);

	*ret = (int)value;
	return err;
}

/* A string without NUL inside; NULL when absent or null. */
static int get_string(const json_t *object, const char *name, const char **ret)
{
	const json_t *value = json_object_get(object, name);

	*ret = NULL;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
		return -EINVAL;
	*ret = json_string_value(value);
	return 0;
}

static int get_family(const json_t *object, enum node_family *ret)
{
	const json_t *value = json_object_get(object, "addressType");

	if (!value || json_is_null(value))
		*ret = NODE_FD;
	else if (json_is_number(value) && json_number_value(value) == 4)
		*ret = NODE_TCP4;
	else if (json_is_number(value) && json_number_value(value) == 6)
		*ret = NODE_TCP6;
	else if (json_is_number(value) && json_number_value(value) == -1)
		*ret = NODE_PIPE;
	else if (json_is_string(value) && strcmp(json_string_value(value), "udp4") == 0)
		*ret = NODE_UDP4;
	else if (json_is_string(value) && strcmp(json_string_value(value), "udp6") == 0)
		*ret = NODE_UDP6;
	else
		return -EINVAL;
	return 0;
}

/* The address, which of an abstract path has a NUL before its name. One with a NUL elsewhere nobody has. */
static int get_path(const json_t *object, struct node_query *q)
{
	const json_t *value = json_object_get(object, "address");
	const char *text = json_string_value(value);
	size_t len = text ? strlen(text) : 0;

	if (!text || len == json_string_length(value))
		return get_string(object, "address", &q->address);
	q->is_abstract = len > 0 && text[len - 1] == '/' &&
			 len + 1 + strlen(text + len + 1) == json_string_length(value);
	if (!q->is_abstract)
		return -EINVAL;
	q->address = text + len + 1;
	return 0;
}

/* The program's own words, as listen() took them: Node passes on `backlog: 1.5`. */
static int get_backlog(const json_t *object, int *ret)
{
	const json_t *value = json_object_get(object, "backlog");
	double number = json_number_value(value);

	if (!json_is_number(value))
		return get_small(object, "backlog", INT_MIN, INT_MAX, 0, ret);
	*ret = number >= INT_MAX ? INT_MAX : number <= INT_MIN ? INT_MIN : (int)number;
	return 0;
}

/* Whatever stands in a question is the program's, and costs no more than an answer. */
static void decode_query(const json_t *object, struct node_query *q)
{
	int err = get_path(object, q);

	q->port = q->fd = -1;
	err = err ? err : get_family(object, &q->family);
	err = err ? err : get_small(object, "port", -1, 65535, -1, &q->port);
	err = err ? err : get_small(object, "fd", -1, INT_MAX, -1, &q->fd);
	err = err ? err : get_small(object, "index", 0, INT_MAX, 0, &q->index);
	err = err ? err : get_small(object, "flags", 0, INT_MAX, 0, &q->flags);
	err = err ? err : get_backlog(object, &q->backlog);
	err = err ? err : get_string(object, "options", &q->options);
	q->is_bad = err;
	q->accepts = json_is_true(json_object_get(object, "accepts"));
	q->readable_all = json_is_true(json_object_get(object, "readableAll"));
	q->writable_all = json_is_true(json_object_get(object, "writableAll"));
}

static int decode_reply(struct node_message *m)
{
	const json_t *name = json_object_get(m->tree, "sockname");
	int err = get_small(m->tree, "errno", -4095, 4095, 0, &m->error);

	m->accepted = json_is_true(json_object_get(m->tree, "accepted"));
	err = err ? err : get_small(m->tree, "lane", 0, 255, -1, &m->lane);
	if (json_is_object(name)) {
		err = err ? err : get_string(name, "address", &m->host);
		err = err ? err : get_small(name, "port", 0, 65535, 0, &m->port);
	}
	return err;
}

static enum node_type type_of_act(const json_t *tree)
{
	static const struct {
		const char *act;
		enum node_type type;
	} acts[] = {
	    {"online", NODE_ONLINE},         {"queryServer", NODE_QUERY},
	    {"listening", NODE_LISTENING},   {"close", NODE_CLOSE},
	    {"disconnect", NODE_DISCONNECT}, {"exitedAfterDisconnect", NODE_LEAVING},
	    {"newconn", NODE_NEWCONN},
	};
	const json_t *act = json_object_get(tree, "act");

	if (json_is_string(act))
		for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
			if (strcmp(json_string_value(act), acts[i].act) == 0)
				return acts[i].type;
	return NODE_UNKNOWN;
}

static enum node_type type_of(const json_t *tree)
{
	static const struct {
		const char *cmd;
		enum node_type type;
	} own[] = {
	    {"NODE_SOCKET_GET_COUNT", NODE_SOCKET_GET_COUNT},
	    {"NODE_SOCKET_NOTIFY_CLOSE", NODE_SOCKET_NOTIFY_CLOSE},
	    {"NODE_UMBEL_HELLO", NODE_UMBEL_HELLO},     {"NODE_UMBEL_LANE", NODE_UMBEL_LANE},
	    {"NODE_UMBEL_SLOT", NODE_UMBEL_SLOT},
	    {"NODE_UMBEL_SCOREBOARD", NODE_UMBEL_SCOREBOARD},
	    {"NODE_UMBEL_READY", NODE_UMBEL_READY},     {"NODE_UMBEL_EXEC", NODE_UMBEL_EXEC},
	    {"NODE_UMBEL_PRELOAD", NODE_UMBEL_PRELOAD}, {"NODE_UMBEL_DRAINED", NODE_UMBEL_DRAINED},
	    {"NODE_UMBEL_DONE", NODE_UMBEL_DONE},
	};
	const char *cmd = json_string_value(json_object_get(tree, "cmd"));

	if (!cmd)
		return NODE_UNKNOWN;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (strcmp(cmd, own[i].cmd) == 0)
			return own[i].type;
	if (strcmp(cmd, "NODE_CLUSTER") != 0)
		return NODE_UNKNOWN;
	return json_object_get(tree, "ack") ? NODE_REPLY : type_of_act(tree);
}

static int decode_fields(struct node_message *m)
{
	int err = get_int(m->tree, "seq", 0, INT64_MAX, -1, &m->seq);

	err = err ? err : get_int(m->tree, "ack", INT64_MIN, INT64_MAX, -1, &m->ack);
	err = err ? err : get_string(m->tree, "key", &m->key);
	m->data = json_object_get(m->tree, "data");
	m->type = type_of(m->tree);
	if (err)
		return err;
	switch (m->type) {
	case NODE_QUERY:
	case NODE_LISTENING:
		decode_query(m->tree, &m->query);
		return 0;
	case NODE_REPLY:
		return decode_reply(m);
	case NODE_CLOSE:
	case NODE_NEWCONN:
	case NODE_SOCKET_GET_COUNT:
	case NODE_SOCKET_NOTIFY_CLOSE:
		return m->key ? 0 : -EINVAL;
	case NODE_UMBEL_HELLO:
		m->wants_scoreboard = json_is_true(json_object_get(m->tree, "scoreboard"));
		return get_small(m->tree, "descriptors", 0, INT_MAX, 0, &m->descriptors);
	case NODE_UMBEL_READY:
		m->ready = !json_is_false(json_object_get(m->tree, "ready"));
		return 0;
	case NODE_UMBEL_SLOT:
		err = get_small(m->tree, "slot", 1, INT_MAX, 0, &m->slot);
		return err || m->slot == 0 ? -EINVAL : 0;
	case NODE_UMBEL_PRELOAD:
		return get_small(m->tree, "node", 0, INT_MAX, 0, &m->node_major);
	case NODE_UMBEL_DONE: /* both have to be there */
		err = get_small(m->tree, "count", 0, INT_MAX, -1, &m->finished);
		err = err ? err : get_small(m->tree, "open", 0, INT_MAX, -1, &m->open);
		return err || m->finished < 0 || m->open < 0 ? -EINVAL : 0;
	case NODE_UMBEL_EXEC:
		err = get_string(m->tree, "step", &m->step);
		return err ? err : get_small(m->tree, "errno", 1, 4095, EINVAL, &m->error);
	default:
		return 0;
	}
}

int node_decode(const char *text, size_t len, struct node_message *ret)
{
	struct node_message m = {.seq = -1, .ack = -1, .lane = -1};
	json_error_t error;
	int err;

	m.tree = json_loadb(text, len, JSON_ALLOW_NUL, &error);
	if (!m.tree)
		m.tree = lenient_load(text, len, &error);
	if (!m.tree)
		return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EINVAL;
	err = decode_fields(&m);
	if (err) {
		json_decref(m.tree);
		return err;
	}
	*ret = m;
	return 0;
}

void node_message_finish(struct node_message *m)
{
	json_decref(m->tree);
	m->tree = NULL;
}

/* ---- to text ---- */

/* Takes the tree, which may be NULL: json_pack() without memory. */
static char *dump(json_t *tree)
{
	char *text = tree ? json_dumps(tree, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	json_decref(tree);
	return text;
}

char *node_encode_act(const char *act, uint32_t seq)
{
	return dump(json_pack("{ss ss sI}", "cmd", "NODE_CLUSTER", "act", act, "seq", (json_int_t)seq));
}

static json_t *family_value(enum node_family family)
{
	switch (family) {
	case NODE_TCP4:
		return json_integer(4);
	case NODE_TCP6:
		return json_integer(6);
	case NODE_PIPE:
		return json_integer(-1);
	case NODE_UDP4:
		return json_string("udp4");
	case NODE_UDP6:
		return json_string("udp6");
	case NODE_FD:
		break;
	}
	return json_null();
}

static json_t *address_value(const struct node_query *q)
{
	char *text;
	json_t *value;
	int n;

	if (!q->is_abstract)
		return q->address ? json_string(q->address) : json_null();
	n = asprintf(&text, "%s/%c%s", q->directory, 0, q->address);
	if (n < 0)
		return NULL;
	value = json_stringn(text, (size_t)n);
	free(text);
	return value;
}

char *node_encode_query(const char *act, const struct node_query *q, uint32_t seq)
{
	bool is_udp = q->family == NODE_UDP4 || q->family == NODE_UDP6;
	json_t *tree = json_pack("{ss ss si sn so si so si si sI}", "cmd", "NODE_CLUSTER", "act", act, "index",
				 q->index, "data", "address", address_value(q), "port", q->port, "addressType",
				 family_value(q->family), "flags", q->flags, "backlog", q->backlog, "seq",
				 (json_int_t)seq);

	/* Only UDP says that it names none; a Node primary makes it part of the key. */
	if (tree && is_udp)
		json_object_set_new(tree, "fd", json_integer(-1));
	if (tree && q->options)
		json_object_set_new(tree, "options", json_string(q->options));
	if (tree && q->accepts)
		json_object_set_new(tree, "accepts", json_true());
	return dump(tree);
}

char *node_encode_close(const char *key, uint32_t seq)
{
	return dump(json_pack("{ss ss ss sI}", "cmd", "NODE_CLUSTER", "act", "close", "key", key, "seq",
			      (json_int_t)seq));
}

char *node_encode_ack(int64_t ack, uint32_t seq)
{
	return dump(json_pack("{ss sI sI}", "cmd", "NODE_CLUSTER", "ack", (json_int_t)ack, "seq",
			      (json_int_t)seq));
}

char *node_encode_accepted(int64_t ack, bool accepted, uint32_t seq)
{
	return dump(json_pack("{ss sI sb sI}", "cmd", "NODE_CLUSTER", "ack", (json_int_t)ack, "accepted",
			      accepted, "seq", (json_int_t)seq));
}

char *node_encode_listen_reply(int64_t ack, const char *key, int error, json_t *data,
			       const struct node_sockname *name, int lane, uint32_t seq)
{
	/* `data` is echoed also when it is null: a TLS worker dies without it. */
	json_t *tree = json_pack("{ss so ss sI sO sI}", "cmd", "NODE_CLUSTER", "errno",
				 error ? json_integer(error) : json_null(), "key", key, "ack",
				 (json_int_t)ack, "data", data ? data : json_null(), "seq",
				 (json_int_t)seq);

	if (tree && !error && name->host)
		json_object_set_new(tree, "sockname",
				    json_pack("{ss ss si}", "address", name->host, "family",
					      name->ipv6 ? "IPv6" : "IPv4", "port", name->port));
	if (tree && lane >= 0)
		json_object_set_new(tree, "lane", json_integer(lane));
	return dump(tree);
}

char *node_encode_lent_reply(int64_t ack, const char *key, bool is_udp, json_t *data, int lane, uint32_t seq)
{
	json_t *tree = json_pack("{ss ss s{ss si ss sI sO sI}}", "cmd", "NODE_HANDLE", "type",
				 is_udp ? "dgram.Native" : "net.Native", "msg", "cmd", "NODE_CLUSTER", "errno",
				 0, "key", key, "ack", (json_int_t)ack, "data", data ? data : json_null(),
				 "seq", (json_int_t)seq);

	if (tree && lane >= 0)
		json_object_set_new(json_object_get(tree, "msg"), "lane", json_integer(lane));
	return dump(tree);
}

char *node_encode_hello(int descriptors)
{
	return dump(json_pack("{ss si sb si}", "cmd", "NODE_UMBEL_HELLO", "version", 1, "scoreboard", 1,
			      "descriptors", descriptors));
}

char *node_encode_ready(bool ready)
{
	return dump(json_pack("{ss sb}", "cmd", "NODE_UMBEL_READY", "ready", ready));
}

char *node_encode_slot(int slot)
{
	return dump(json_pack("{ss si}", "cmd", "NODE_UMBEL_SLOT", "slot", slot));
}

char *node_encode_lane(void)
{
	return dump(json_pack("{ss ss s{ss}}", "cmd", "NODE_HANDLE", "type", "umbel.Lane", "msg", "cmd",
			      "NODE_UMBEL_LANE"));
}

char *node_encode_scoreboard(void)
{
	return dump(json_pack("{ss ss s{ss}}", "cmd", "NODE_HANDLE", "type", "umbel.Scoreboard", "msg", "cmd",
			      "NODE_UMBEL_SCOREBOARD"));
}

char *node_encode_user_handle(const char *head, const char *json, size_t len, size_t *ret_len)
{
	/* The user's text is not to become a tree. */
	size_t head_len = strlen(head);
	char *text = malloc(head_len + len + 1), *p = text;

	if (!text)
		return NULL;
	p = mempcpy(p, head, head_len);
	p = mempcpy(p, json, len);
	*p++ = '}';
	*ret_len = (size_t)(p - text);
	return text;
}

char *node_encode_socket_count(const char *key, unsigned count)
{
	return dump(json_pack("{ss ss si}", "cmd", "NODE_SOCKET_COUNT", "key", key, "count", (int)count));
}

char *node_encode_sockets_closed(const char *key)
{
	return dump(json_pack("{ss ss}", "cmd", "NODE_SOCKET_ALL_CLOSED", "key", key));
}

char *node_decode_string(const char *json, size_t len)
{
	json_t *value = json_loadb(json, len, JSON_DECODE_ANY, NULL);
	const char *text = json_string_value(value);
	char *copy = text ? strdup(text) : NULL;

	json_decref(value);
	return copy;
}

size_t node_write_newconn(char *out, size_t size, const char *key_json, uint32_t seq)
{
	int n = snprintf(out, size,
			 "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":"
			 "\"NODE_CLUSTER\",\"act\":\"newconn\",\"key\":%s,\"seq\":%u}}",
			 key_json, seq);

	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

char *node_encode_string(const char *text)
{
	return dump(json_string(text));
}
