#include "base/fd.h"
#include "wire/handle.h"
#include "worker/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* ---- sending ---- */

void talk_send(struct self *s, char *text)
{
	if (text)
		channel_send(&s->channel, text, strlen(text), -1, CHANNEL_URGENT);
	free(text);
}

static void send_constant(struct self *s, const char *text)
{
	channel_send(&s->channel, text, strlen(text), -1, CHANNEL_URGENT);
}

void talk_flush(struct self *s)
{
	bool full;

	if (!channel_is_open(&s->channel))
		return;
	full = channel_has_output(&s->channel) && channel_flush(&s->channel) == 1;
	if (full != s->watches_output)
		self_watch(s, EPOLL_CTL_MOD, s->channel.fd, SOURCE_CHANNEL, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
	s->watches_output = full;
	if (s->wants_writable && s->channel.out_bytes <= s->channel.max_queue / 2 &&
	    s->sent_count <= HANDLE_UNACKED_MOST / 2) {
		s->wants_writable = false;
		events_add(s->events, UMBEL_WRITABLE, NULL, "", 0);
	}
}

int self_send(struct self *s, const char *json, size_t len, int fd)
{
	const char *head;
	char *text;
	int err;

	if (!channel_is_open(&s->channel))
		return -EPIPE;
	if (fd < 0) {
		err = channel_send(&s->channel, json, len, -1, 0);
	} else {
		head = handle_head(fd, s->libumbel_primary);
		if (!head)
			return -ENOTSUP;
		text = node_encode_user_handle(head, json, len, &len);
		err = text ? sent_add(s, text, len, fd) : -ENOMEM;
		if (err)
			free(text);
	}
	s->wants_writable |= err == -EAGAIN;
	return err;
}

/* ---- what the primary says ---- */

static void on_reply(struct self *s, const struct node_message *m, bool has_fd, int *fd)
{
	struct listen *l;

	if (s->leave_seq >= 0 && m->ack == s->leave_seq) {
		s->leave_seq = -1;
		return;
	}
	TAILQ_FOREACH (l, &s->listens, link)
		if (l->query >= 0 && l->query == m->ack) {
			serving_on_reply(s, l, m, has_fd, fd);
			return;
		}
}

static void on_lane_given(struct self *s, int *fd)
{
	if (*fd < 0 || s->lane >= 0)
		return;
	s->lane = fd_steal(fd);
	s->libumbel_primary = true;
}

/* Once for each line that says it carries a descriptor: Node ends on a spare one. */
static void acknowledge(struct self *s, bool ok)
{
	send_constant(s, ok ? NODE_ACK_TEXT : NODE_NACK_TEXT);
}

void talk_tell_closed(struct self *s)
{
	char *key;

	if (!channel_is_open(&s->channel))
		return;
	while ((key = accounts_pop_closed(&s->accounts))) {
		talk_send(s, node_encode_sockets_closed(key));
		free(key);
	}
	if (accounts_is_awaited(&s->accounts))
		self_look_again(s);
}

static void on_sockets_awaited(struct self *s, const char *key)
{
	if (accounts_await(&s->accounts, key) == 0)
		talk_tell_closed(s);
}

static int on_internal(struct self *s, const struct node_line *line, int *fd)
{
	struct node_message m;
	int err = node_decode(line->text, line->len, &m);

	if (err)
		return err;
	/* A Node primary whose newconn is not acknowledged keeps that connection for ever, and gives
	 * us no other. For these two there is an answer that says that we cannot. */
	if (line->has_fd)
		acknowledge(s, *fd >= 0 || m.type == NODE_NEWCONN || m.type == NODE_REPLY);
	switch (m.type) {
	case NODE_REPLY:
		on_reply(s, &m, line->has_fd, fd);
		break;
	case NODE_NEWCONN:
		serving_on_newconn(s, &m, fd);
		break;
	case NODE_DISCONNECT:
		serving_expect_no_answer(s);
		self_drain(s);
		break;
	case NODE_SOCKET_GET_COUNT:
		talk_send(s, node_encode_socket_count(m.key, accounts_count(&s->accounts, m.key)));
		break;
	case NODE_SOCKET_NOTIFY_CLOSE:
		on_sockets_awaited(s, m.key);
		break;
	case NODE_UMBEL_SLOT:
		s->slot = m.slot;
		break;
	case NODE_UMBEL_LANE:
		on_lane_given(s, fd);
		break;
	case NODE_UMBEL_SCOREBOARD:
		serving_on_board(s, *fd);
		break;
	default:
		break;
	}
	node_message_finish(&m);
	return 0;
}

static void on_message(struct self *s, const struct node_line *l, int *fd)
{
	struct queued_event *e;
	char *key;

	if (!s->events->handlers[UMBEL_MESSAGE].f)
		return;
	e = events_add(s->events, UMBEL_MESSAGE, NULL, l->text, l->len);
	if (!e)
		return;
	key = l->key && *fd >= 0 ? node_decode_string(l->key, l->key_len) : NULL;
	if (key)
		accounts_add(&s->accounts, key, *fd);
	free(key);
	e->event.message.json = e->text;
	e->event.message.len = l->len;
	e->event.message.fd = fd_steal(fd);
}

static int on_line(struct self *s, const char *line, size_t len)
{
	struct node_line l;
	int fd = -1, err = node_read_line(line, len, &l);

	if (err)
		return err;
	if (l.kind == NODE_LINE_ACK || l.kind == NODE_LINE_NACK)
		return sent_answered(s, l.kind == NODE_LINE_ACK);
	if (l.has_fd)
		fd = channel_take_fd(&s->channel);
	if (l.kind == NODE_LINE_INTERNAL) {
		err = on_internal(s, &l, &fd);
	} else {
		if (l.has_fd)
			acknowledge(s, fd >= 0);
		if (!l.has_fd || fd >= 0) /* else it comes once more */
			on_message(s, &l, &fd);
	}
	fd_close(&fd);
	return err;
}

void talk_on_channel(struct self *s)
{
	char *line;
	size_t len;
	int n = channel_read(&s->channel), r = 0;

	if (n == -EAGAIN || n == -ENOMEM)
		return;
	while (n > 0 && (r = channel_next_line(&s->channel, &line, &len)) == 1)
		if ((r = on_line(s, line, len)) < 0)
			break;
	if (r < 0)
		events_add_failed(s->events, NULL, -EPROTO, "the primary broke the protocol");
	if (n <= 0 || r < 0)
		self_on_channel_end(s);
	else
		channel_drop_strays(&s->channel);
}
