#include "life/dialogue.h"

#include "base/fd.h"
#include "life/activation.h"
#include "life/query.h"
#include "life/ready.h"
#include "share/counting.h"
#include "share/handoff.h"
#include "wire/handle.h"
#include "wire/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	MAX_KEY = 4096,
	HELD_MOST = 64,            /* queries of a spare */
	HELD_BYTES_MOST = 1 << 20, /* the same, all together */
	LINGER_MS = 4000, /* for taking what waits in its sockets */
	LOOK_MS = 5,
	SETTLE_MS = 20,
};

/* ---- sending ---- */

static void watch(struct umbel_worker *w, bool output)
{
	if (w->watches_output != output)
		uv_poll_start(&w->channel_poll, UV_READABLE | (output ? UV_WRITABLE : 0), dialogue_on_channel);
	w->watches_output = output;
}

void dialogue_flush(struct umbel_worker *w)
{
	struct receiver *to = &w->receiver;
	int r;

	to->dirty = false;
	if (!channel_is_open(&to->channel))
		return;
	r = channel_flush(&to->channel);
	/* A broken pipe is told by reading: what the worker said last comes first. */
	watch(w, r == 1);
	if (to->wants_writable && to->channel.out_bytes <= to->channel.max_queue / 2 && handoff_has_room(to)) {
		to->wants_writable = false;
		events_add(w->crew->events, UMBEL_WRITABLE, w, "", 0);
	}
}

static int send_with_fd(struct umbel_worker *w, const char *json, size_t len, int fd)
{
	const char *head = handle_head(fd, w->receiver.is_libumbel);
	char *text;
	int err;

	if (!head)
		return -ENOTSUP;
	text = node_encode_user_handle(head, json, len, &len);
	err = text ? handoff_message(&w->receiver, text, len, fd) : -ENOMEM;
	if (err)
		free(text);
	return err;
}

int dialogue_send_user(struct umbel_worker *w, const char *json, size_t len, int fd)
{
	int err;

	if (!w->receiver.connected)
		return -EPIPE;
	err = fd < 0 ? channel_send(&w->receiver.channel, json, len, -1, 0) : send_with_fd(w, json, len, fd);
	if (err == -EAGAIN)
		w->receiver.wants_writable = true;
	if (!err)
		receiver_touch(&w->receiver);
	return err;
}

/* ---- what a worker says ---- */

void dialogue_end(struct umbel_worker *w, const char *breach)
{
	char why[256];

	if (breach && w->broke)
		return; /* once is enough */
	if (breach) {
		snprintf(why, sizeof(why), "broke the protocol: %s", breach);
		worker_tell_failed(w, -EPROTO, why);
	}
	w->broke = true; /* by its fault or ours: its death is a crash */
	worker_happens(w, WORKER_END);
}

static void on_online(struct umbel_worker *w)
{
	w->online = true;
	if (w->kind == KIND_INTERCEPT)
		w->kind_why = "it speaks on the channel";
	activation_decline(w);
	events_add(w->crew->events, UMBEL_ONLINE, w, "", 0);
}

static void on_listening(struct umbel_worker *w, const struct node_message *m)
{
	struct crew *crew = w->crew;
	const struct share *s = query_find_listening(crew, w, &m->query);
	char text[ADDRESS_TEXT_MAX];
	int family = s ? s->listener.address.family : AF_UNSPEC;
	struct queued_event *e;

	if (!s && m->query.fd < 0 && m->query.family == NODE_FD)
		return; /* it names nothing */
	/* Without one it bound that itself, or has left it since. */
	if (!s)
		query_address_text(&m->query, &family, text, sizeof(text));
	e = events_add(crew->events, UMBEL_LISTENING, w, s ? s->address : text, strlen(s ? s->address : text));
	if (e) {
		e->event.listening.address = e->text;
		e->event.listening.family = family;
		e->event.listening.port = s ? s->listener.address.port : m->query.port > 0 ? m->query.port : 0;
	}
	if (s)
		sharing_listens(s, &w->receiver);
	ready_listens(w);
}

/* As PM2: process.send('ready'). */
static bool says_ready(const struct umbel_worker *w, const struct node_line *l)
{
	static const char ready[] = "\"ready\"";

	return w->crew->settings->wait_ready && l->len == sizeof(ready) - 1 &&
	       memcmp(l->text, ready, l->len) == 0;
}

static void on_leaving(struct umbel_worker *w, const struct node_message *m)
{
	worker_leaves(w); /* this first: the answer says that nothing more comes */
	receiver_reply(&w->receiver, node_encode_ack(m->seq, w->receiver.seq++));
}

static void on_exec_failed(struct umbel_worker *w, const struct node_message *m)
{
	static const char *const steps[] = {"descriptors", "user", "chdir", "exec"};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && !w->online; i++)
		if (m->step && strcmp(m->step, steps[i]) == 0)
			w->exec_step = steps[i];
	if (!w->exec_step)
		return; /* a program said it: nonsense */
	w->exec_error = m->error;
}

/* Of its servers' sockets, that came with messages. */
void dialogue_tell_closed(struct umbel_worker *w)
{
	char *key;

	while ((key = accounts_pop_closed(&w->accounts))) {
		receiver_reply(&w->receiver, node_encode_sockets_closed(key));
		free(key);
	}
	if (accounts_is_awaited(&w->accounts))
		worker_deadline(w, DEADLINE_SOCKETS, ACCOUNTS_LOOK_MS);
}

static void on_socket_question(struct umbel_worker *w, const struct node_message *m)
{
	if (strlen(m->key) > MAX_KEY)
		return; /* Node's are short: "6:ADDRESS:PORT" */
	if (m->type == NODE_SOCKET_GET_COUNT)
		receiver_reply(&w->receiver, node_encode_socket_count(m->key, accounts_count(&w->accounts, m->key)));
	else if (accounts_await(&w->accounts, m->key) == 0)
		dialogue_tell_closed(w);
}

/* ---- a spare's queries ---- */

static int hold(struct umbel_worker *w, const char *text, size_t len)
{
	struct held *h = &w->held;
	char **more;

	if (h->count == HELD_MOST || h->bytes + len > HELD_BYTES_MOST)
		return receiver_breach(&w->receiver, "a spare that asks for more than it can be promised");
	more = reallocarray(h->texts, h->count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	h->texts = more;
	h->texts[h->count] = strndup(text, len);
	if (!h->texts[h->count])
		return -ENOMEM;
	h->count++;
	h->bytes += len;
	worker_happens(w, WORKER_HELD);
	return 0;
}

static void free_held(struct held *h)
{
	for (unsigned i = 0; i < h->count; i++)
		free(h->texts[i]);
	free(h->texts);
}

void dialogue_forget(struct umbel_worker *w)
{
	free_held(&w->held);
	w->held = (struct held){0};
}

static void tell_slot(struct umbel_worker *w)
{
	if (!w->lacks_slot || w->is_spare || !w->receiver.is_libumbel)
		return;
	w->lacks_slot = false;
	receiver_reply(&w->receiver, node_encode_slot(w->receiver.slot));
}

/* One that has been told to leave gets no answer (as in Node). */
static int on_query(struct umbel_worker *w, const struct node_message *m, const char *text, size_t len)
{
	if (w->is_spare)
		return hold(w, text, len);
	if (!w->receiver.asked)
		query_answer(w->crew, w, m);
	return 0;
}

void dialogue_release(struct umbel_worker *w)
{
	struct held h = w->held;

	w->held = (struct held){0};
	tell_slot(w);
	for (unsigned i = 0; i < h.count; i++) {
		struct node_message m;

		if (node_decode(h.texts[i], strlen(h.texts[i]), &m) < 0)
			continue; /* no memory: it was decoded before */
		if (!w->receiver.asked && channel_is_open(&w->receiver.channel))
			query_answer(w->crew, w, &m);
		node_message_finish(&m);
	}
	free_held(&h);
}

static int on_internal(struct umbel_worker *w, const char *text, size_t len)
{
	struct node_message m;
	int err = node_decode(text, len, &m);

	if (err == -ENOMEM)
		return 0;
	if (err)
		return receiver_breach(&w->receiver, "a cluster message that is none");
	switch (m.type) {
	case NODE_ONLINE:
		on_online(w);
		break;
	case NODE_QUERY:
		err = on_query(w, &m, text, len);
		break;
	case NODE_LISTENING:
		on_listening(w, &m);
		break;
	case NODE_CLOSE:
		sharing_leave(&w->receiver, m.key);
		break;
	case NODE_LEAVING:
		on_leaving(w, &m);
		break;
	case NODE_REPLY:
		err = handoff_answered(&w->receiver, &m);
		break;
	case NODE_SOCKET_GET_COUNT:
	case NODE_SOCKET_NOTIFY_CLOSE:
		on_socket_question(w, &m);
		break;
	case NODE_UMBEL_HELLO: /* said again when it may have more descriptors */
		w->receiver.is_libumbel = true;
		w->receiver.most_active = (unsigned)m.descriptors;
		handoff_open_lane(&w->receiver);
		if (m.wants_scoreboard)
			handoff_open_board(&w->receiver);
		tell_slot(w);
		break;
	case NODE_UMBEL_READY:
		if (m.ready)
			ready_says(w);
		else
			ready_says_not_yet(w);
		break;
	case NODE_UMBEL_PRELOAD:
		w->receiver.has_preload = true;
		w->node_major = m.node_major;
		counting_update(&w->receiver);
		break;
	case NODE_UMBEL_DONE:
		counting_done(&w->receiver, (unsigned)m.finished, (unsigned)m.open);
		break;
	case NODE_UMBEL_DRAINED:
		worker_no_deadline(w, DEADLINE_CUT);
		dialogue_disconnect_when_idle(w);
		break;
	case NODE_UMBEL_EXEC:
		on_exec_failed(w, &m);
		break;
	default:
		break;
	}
	node_message_finish(&m);
	return err;
}

/* Every NODE_HANDLE is answered first and at once: until then a Node worker sends nothing else. */
static int take_handle(struct umbel_worker *w, int *ret_fd)
{
	*ret_fd = channel_take_fd(&w->receiver.channel);
	if (*ret_fd >= 0) {
		receiver_send(&w->receiver, NODE_ACK_TEXT, strlen(NODE_ACK_TEXT), -1, 0);
		return 0;
	}
	receiver_send(&w->receiver, NODE_NACK_TEXT, strlen(NODE_NACK_TEXT), -1, 0);
	return -EBADF;
}

static void on_message(struct umbel_worker *w, const struct node_line *l, int *fd)
{
	struct events *events = w->crew->events;
	struct queued_event *e = NULL;
	char *key;

	if (says_ready(w, l))
		ready_says(w);
	/* What nobody listens to is not copied. */
	if (events->handlers[UMBEL_MESSAGE].f)
		e = events_add(events, UMBEL_MESSAGE, w, l->text, l->len);
	if (!e)
		return;
	key = l->key ? node_decode_string(l->key, l->key_len) : NULL;
	if (key)
		accounts_add(&w->accounts, key, *fd);
	free(key);
	e->event.message.json = e->text;
	e->event.message.len = l->len;
	e->event.message.fd = fd_steal(fd);
}

static int on_nack(struct umbel_worker *w)
{
	struct handoff_query query;
	int err = handoff_nacked(&w->receiver, &query);

	if (!err && query.share)
		query_nacked(w, query.share, query.seq);
	return err;
}

static int on_line(struct umbel_worker *w, const char *line, size_t len)
{
	struct node_line l;
	int fd = -1, err = 0;

	if (node_read_line(line, len, &l) < 0)
		return receiver_breach(&w->receiver, "a line that is not JSON");
	if (l.kind == NODE_LINE_ACK)
		return handoff_acked(&w->receiver);
	if (l.kind == NODE_LINE_NACK)
		return on_nack(w);
	if (l.has_fd && take_handle(w, &fd) < 0)
		return 0;
	if (l.kind == NODE_LINE_INTERNAL)
		err = on_internal(w, l.text, l.len); /* the primary asked for no descriptor */
	else
		on_message(w, &l, &fd);
	fd_close(&fd);
	return err;
}

/* All whole lines that were read. 0, or -EPROTO: the worker has been ended. */
int dialogue_read_lines(struct umbel_worker *w)
{
	char *line;
	size_t len;
	int r;

	while ((r = channel_next_line(&w->receiver.channel, &line, &len)) == 1)
		if (on_line(w, line, len) < 0 || w->broke)
			return -EPROTO;
	if (r < 0) {
		char what[96];

		snprintf(what, sizeof(what), "a message of more than %zu bytes", w->receiver.channel.max_message);
		return receiver_breach(&w->receiver, what);
	}
	channel_drop_strays(&w->receiver.channel);
	return 0;
}

/* Or may have: what was steered to it just now. */
static bool has_something_to_take(struct umbel_worker *w)
{
	uint64_t drains = worker_now_ms() - w->drains_ms;

	return drains < SETTLE_MS || (drains < LINGER_MS && sharing_has_unread(&w->receiver));
}

void dialogue_disconnect_when_idle(struct umbel_worker *w)
{
	if (!w->asked_by_us || w->told_disconnect || w->receiver.unanswered > 0 ||
	    w->state != UMBEL_STATE_DRAINING || w->deadlines[DEADLINE_CUT])
		return;
	if (w->reads_alone && has_something_to_take(w)) {
		worker_deadline(w, DEADLINE_CUT, LOOK_MS);
		return;
	}
	w->told_disconnect = true;
	receiver_reply(&w->receiver, node_encode_act("disconnect", w->receiver.seq++));
}

void dialogue_on_channel(uv_poll_t *poll, int status, int events)
{
	struct umbel_worker *w = poll->data;
	int n;

	if (events & UV_WRITABLE)
		dialogue_flush(w);
	if (status == 0 && !(events & (UV_READABLE | UV_DISCONNECT)))
		return;
	n = channel_read(&w->receiver.channel);
	if (n == -EAGAIN || n == -ENOMEM)
		return;
	if (n == -EMFILE)
		receiver_breach(&w->receiver, "more descriptors than messages");
	if (n <= 0 || dialogue_read_lines(w) < 0)
		worker_part(w);
	dialogue_disconnect_when_idle(w);
	sharing_resume(&w->crew->sharing);
}
