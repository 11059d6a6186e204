/* node: the messages of Node's cluster, and umbel's own beside them, from text and to text. Pure: no
 * descriptors, no state. What each message means is in docs/PROTOCOL.md. */
#ifndef UMBEL_WIRE_NODE_H
#define UMBEL_WIRE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

/* ---- what kind of line it is ---- */

enum node_line_kind {
	NODE_LINE_USER,     /* the application's */
	NODE_LINE_INTERNAL, /* for node_decode() */
	NODE_LINE_ACK,      /* of a descriptor that we sent */
	NODE_LINE_NACK,     /* it did not get the descriptor */
};

struct node_line {
	enum node_line_kind kind;
	bool has_fd;      /* it says that a descriptor came with it: NODE_HANDLE. Answer with an ACK first */
	const char *text; /* the message, out of its NODE_HANDLE; inside the scanned line */
	size_t len;
	const char *key; /* of its NODE_HANDLE: the server whose socket it is, as JSON; NULL: none */
	size_t key_len;
};

/* 0; -EINVAL, -E2BIG as json_scan(); -EINVAL also for a NODE_HANDLE without a message. */
int node_read_line(const char *line, size_t len, struct node_line *ret);

/* ---- internal messages ---- */

enum node_type {
	NODE_UNKNOWN, /* dropped, as Node does */
	NODE_ONLINE,
	NODE_QUERY,      /* queryServer */
	NODE_LISTENING,  /* with the fields of NODE_QUERY */
	NODE_CLOSE,      /* key */
	NODE_DISCONNECT, /* primary to worker: leave */
	NODE_LEAVING,    /* exitedAfterDisconnect */
	NODE_NEWCONN,    /* key; a connection came with it */
	NODE_REPLY,      /* ack, and what the answered message asks for */
	NODE_SOCKET_GET_COUNT,    /* key: how many of that server's sockets have you open? */
	NODE_SOCKET_NOTIFY_CLOSE, /* key: tell when none is left */
	NODE_UMBEL_HELLO, /* worker to primary: I am libumbel's */
	NODE_UMBEL_SLOT,  /* primary to worker that was a spare: your slot */
	NODE_UMBEL_LANE,  /* primary to worker: your lane; came with it */
	NODE_UMBEL_SCOREBOARD, /* primary to worker: your scoreboard; came with it */
	NODE_UMBEL_READY, /* worker to primary: I am ready; `ready` false: I will say when I am */
	NODE_UMBEL_PRELOAD, /* Node worker to primary: I understand NODE_UMBEL_DRAIN */
	NODE_UMBEL_DRAINED, /* Node worker to primary: no connection of a client is open any more */
	NODE_UMBEL_DONE,    /* Node worker to primary: so many of the connections that I count are over */
	NODE_UMBEL_EXEC,  /* child to primary: `step` failed with `error`, there is no program */
};

/* addressType of a query. */
enum node_family { NODE_TCP4, NODE_TCP6, NODE_PIPE, NODE_UDP4, NODE_UDP6, NODE_FD };

#define NODE_FLAG_IPV6ONLY 1  /* UV_TCP_IPV6ONLY, UV_UDP_IPV6ONLY */
#define NODE_FLAG_REUSEADDR 4 /* UV_UDP_REUSEADDR */

struct node_query {
	const char *address; /* NULL: any. Of NODE_PIPE an absolute path, or a name if is_abstract */
	bool is_abstract;    /* "DIRECTORY/\0NAME" on the wire: Node makes any path absolute */
	const char *directory; /* only for node_encode_query(), with is_abstract: ours, as in Node */
	enum node_family family;
	int port, fd; /* -1: none */
	int index, flags, backlog;
	bool is_bad;      /* it cannot be meant: EINVAL */
	bool readable_all, writable_all; /* the file of a unix socket, for everybody */
	const char *options; /* umbel's: for address_parse_options(); NULL: none */
	bool accepts;        /* umbel's: it accepts by itself, and takes nothing that is handed over */
};

struct node_message {
	enum node_type type;
	int64_t seq, ack;  /* -1: none */
	const char *key;   /* or NULL */
	struct node_query query;
	int error;         /* of a reply: 0 or -errno */
	bool accepted;     /* of a reply to newconn */
	int lane;          /* of a reply to a query: the listener's number in the lane; -1: no lane */
	const char *host;  /* of a reply: sockname; NULL: none */
	int port;
	bool wants_scoreboard; /* of NODE_UMBEL_HELLO */
	int descriptors;       /* of the same: connections that it may have at a time; 0: it does not say */
	bool ready;            /* of NODE_UMBEL_READY */
	int slot;              /* of NODE_UMBEL_SLOT */
	int node_major;        /* of NODE_UMBEL_PRELOAD: 20; 0: unknown */
	const char *step;      /* of NODE_UMBEL_EXEC */
	int finished, open;    /* of NODE_UMBEL_DONE: since it said so last; those that it has now */
	struct json_t *data;   /* `data` of a query or reply, borrowed from tree; NULL: none */
	struct json_t *tree;   /* owns all strings */
};

/* 0, then node_message_finish(); -EINVAL: not what the type asks for; -ENOMEM. */
int node_decode(const char *text, size_t len, struct node_message *ret);
void node_message_finish(struct node_message *m);

/* ---- to text: malloc()ed, NULL without memory ---- */

#define NODE_ACK_TEXT "{\"cmd\":\"NODE_HANDLE_ACK\"}"
#define NODE_NACK_TEXT "{\"cmd\":\"NODE_HANDLE_NACK\"}"
#define NODE_DRAIN_TEXT "{\"cmd\":\"NODE_UMBEL_DRAIN\"}" /* primary to Node worker: mark your responses */
#define NODE_COUNT_TEXT "{\"cmd\":\"NODE_UMBEL_COUNT\",\"on\":true}" /* the same: count connections */
#define NODE_WARM_TEXT "{\"cmd\":\"NODE_UMBEL_WARM\"}" /* the same, a spare: answer a request to yourself */
#define NODE_COUNT_NO_MORE_TEXT "{\"cmd\":\"NODE_UMBEL_COUNT\",\"on\":false}"

struct node_sockname {
	const char *host; /* NULL: the reply has none (unix) */
	bool ipv6;
	int port;
};

char *node_encode_act(const char *act, uint32_t seq); /* online, disconnect, exitedAfterDisconnect */
char *node_encode_query(const char *act, const struct node_query *q, uint32_t seq); /* or listening */
char *node_encode_close(const char *key, uint32_t seq);
char *node_encode_ack(int64_t ack, uint32_t seq);
char *node_encode_accepted(int64_t ack, bool accepted, uint32_t seq);
char *node_encode_listen_reply(int64_t ack, const char *key, int error, struct json_t *data,
			       const struct node_sockname *name, int lane, uint32_t seq);
/* Wrapped: goes with the bound socket. lane: connections may come there too; -1: not there. */
char *node_encode_lent_reply(int64_t ack, const char *key, bool is_udp, struct json_t *data, int lane,
			     uint32_t seq);
char *node_encode_hello(int descriptors);
char *node_encode_ready(bool ready);
char *node_encode_slot(int slot);
char *node_encode_lane(void);       /* wrapped: goes with a descriptor */
char *node_encode_scoreboard(void); /* the same */

/* A user's message (one JSON value, scanned) that goes with a descriptor; head is handle_head()'s. */
char *node_encode_user_handle(const char *head, const char *json, size_t len, size_t *ret_len);

char *node_encode_socket_count(const char *key, unsigned count); /* the answer to NODE_SOCKET_GET_COUNT */
char *node_encode_sockets_closed(const char *key);               /* to NODE_SOCKET_NOTIFY_CLOSE */

char *node_decode_string(const char *json, size_t len); /* a JSON string's text; NULL: it is none */

/* newconn is written once for each connection: into out, from a key that is JSON already. Bytes. */
size_t node_write_newconn(char *out, size_t size, const char *key_json, uint32_t seq);
char *node_encode_string(const char *text); /* "text" with its escapes, for key_json */

#endif
