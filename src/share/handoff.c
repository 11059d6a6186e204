#include "share/handoff.h"

#include "base/fd.h"
#include "net/rotation.h"
#include "share/counting.h"
#include "share/sharing.h"
#include "wire/handle.h"
#include "wire/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	NEWCONN_MAX = ADDRESS_PATH_MAX * 6 + 256, /* a path of control characters, all escaped */
	RETURNS_AT_LEAST = 8,
	MESSAGE_TRIES = 4,                        /* Node's: once, and three times again */
};

/* ---- what is on its way ---- */

struct handoff *handoff_add(struct receiver *r)
{
	struct handoff *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->fd = -1;
	h->seq = h->query = -1;
	TAILQ_INSERT_TAIL(&r->handoffs, h, link);
	return h;
}

void handoff_remove(struct receiver *r, struct handoff *h)
{
	TAILQ_REMOVE(&r->handoffs, h, link);
	if (h->seq >= 0)
		r->unanswered--;
	if (h->text)
		r->unacked_messages--;
	fd_close(&h->fd);
	refusals_free(h->refusals);
	free(h->text);
	free(h);
}

int handoff_message(struct receiver *r, char *text, size_t len, int fd)
{
	struct handoff *h;
	int err;

	if (r->unacked_messages >= HANDLE_UNACKED_MOST)
		return -EAGAIN;
	h = handoff_add(r);
	err = h ? channel_send(&r->channel, text, len, fd, CHANNEL_LEND_FD) : -ENOMEM;
	if (!err) {
		r->unacked_messages++;
		h->text = text;
		h->text_len = len;
		h->fd = fd;
		h->sent = 1;
	} else if (h) {
		handoff_remove(r, h);
	}
	return err;
}

unsigned handoff_lent_count(const struct receiver *r)
{
	const struct handoff *h;
	unsigned count = 0;

	TAILQ_FOREACH (h, &r->handoffs, link)
		count += h->query >= 0;
	return count;
}

/* ---- to the worker ---- */

bool handoff_has_room(const struct receiver *r)
{
	return r->unacked_messages <= HANDLE_UNACKED_MOST / 2;
}

bool handoff_has_lane(const struct receiver *r)
{
	return r->lane >= 0;
}

/* Beyond LANE_LIMIT it has not said the truth. */
static unsigned waits_in_lane(const struct receiver *r, const struct scoreboard_view *v)
{
	uint64_t waiting = r->lane_sent - v->received;

	if (!handoff_has_lane(r) || waiting > INT64_MAX)
		return 0;
	return waiting < LANE_LIMIT ? (unsigned)waiting : LANE_LIMIT;
}

unsigned handoff_active(const struct receiver *r, bool *known)
{
	struct scoreboard_view v = {.heartbeat = 0};
	unsigned on_its_way = (unsigned)r->unanswered + r->lane_out.count;

	if (r->board)
		scoreboard_read(r->board, &v);
	*known = v.heartbeat > 0;
	if (*known)
		return on_its_way + waits_in_lane(r, &v) + v.active;
	if (r->counting.known) {
		*known = true;
		return on_its_way + r->counting.open;
	}
	return on_its_way + (handoff_has_lane(r) ? lane_waiting(r->lane_far) : 0);
}

/* Connections that surely have room: in the lane, and in what it has descriptors for: what is sent to it beyond
 * that would be lost. */
static unsigned look_for_room(struct receiver *r)
{
	unsigned waiting = lane_waiting(r->lane_far) + r->lane_out.count, active, room;
	bool known;

	room = waiting < LANE_LIMIT ? LANE_LIMIT - waiting : 0;
	if (room == 0 || r->most_active == 0)
		return room;
	active = handoff_active(r, &known);
	if (active < r->most_active)
		return room < r->most_active - active ? room : r->most_active - active;
	/* Its lane tells when it reads, nobody tells when it finishes. To ask it for a word each time would cost the
	 * worker a call for what its page says anyway. */
	sharing_resume_soon(r->sharing);
	return 0;
}

int handoff_load(struct receiver *r)
{
	if (!r->takes)
		return ROTATION_FULL;
	if (!handoff_has_lane(r))
		return r->unanswered >= (int)r->sharing->settings->window ? ROTATION_FULL : r->unanswered;
	if (r->lane_credit == 0)
		r->lane_credit = look_for_room(r);
	return r->lane_credit > 0 ? 0 : ROTATION_FULL;
}

static int hand_by_channel(struct receiver *r, struct share *share, int fd, struct refusals *refusals)
{
	char text[NEWCONN_MAX];
	uint32_t seq = r->seq++;
	size_t len = node_write_newconn(text, sizeof(text), share->key_json, seq);
	struct handoff *h = handoff_add(r);

	if (!h)
		return -ENOMEM;
	h->share = share;
	h->fd = fd;
	h->seq = seq;
	h->refusals = refusals;
	r->unanswered++;
	counting_look(r);
	receiver_send(r, text, len, fd, CHANNEL_LEND_FD);
	return 0;
}

int handoff_give(struct receiver *r, struct share *share, int fd, struct refusals *refusals)
{
	r->handed++;
	if (!handoff_has_lane(r) || share->number < 0)
		return hand_by_channel(r, share, fd, refusals);
	refusals_free(refusals); /* the primary does not see what happens there */
	r->lane_credit--;
	r->lane_out.fds[r->lane_out.count] = fd;
	r->lane_out.listeners[r->lane_out.count++] = (uint8_t)share->number;
	return 0;
}

static void note_loss(struct receiver *r)
{
	if (r->noted_loss || !r->board || atomic_load(&r->board->lost) == 0)
		return;
	r->noted_loss = true;
	events_add_note(r->sharing->events, r->slot, "lost",
			"pid %d has lost connections: it was out of descriptors", (int)r->pid);
}

int handoff_flush_lane(struct receiver *r)
{
	int err = lane_send(r->lane, &r->lane_out);

	if (err)
		r->lane_credit = 0; /* look before the next one */
	else
		r->lane_sent += r->lane_out.count;
	note_loss(r);
	if (err && err != -EAGAIN)
		receiver_breach(r, "its lane is shut");
	return err;
}

static void close_board(struct receiver *r)
{
	scoreboard_unmap(r->board);
	r->board = NULL;
}

/* Lends the worker its end of a new lane. */
void handoff_open_lane(struct receiver *r)
{
	struct handoff *h;
	char *text;

	if (handoff_has_lane(r) || lane_open(&r->lane, &r->lane_far) < 0)
		return; /* without a lane it is served by newconn */
	text = node_encode_lane();
	h = text ? handoff_add(r) : NULL;
	if (h && sharing_watch_lane(r->sharing, r->lane) == 0) {
		h->is_lane = true;
		receiver_send(r, text, strlen(text), r->lane_far, CHANNEL_LEND_FD);
	} else {
		if (h)
			handoff_remove(r, h);
		fd_close(&r->lane);
		fd_close(&r->lane_far);
	}
	free(text);
}

void handoff_open_board(struct receiver *r)
{
	struct handoff *h;
	char *text;
	int fd;

	if (r->board || scoreboard_create(&fd, &r->board) < 0)
		return;
	text = node_encode_scoreboard();
	h = text ? handoff_add(r) : NULL;
	if (h) {
		h->fd = fd;
		h->is_board = true;
		receiver_send(r, text, strlen(text), fd, CHANNEL_LEND_FD);
	} else {
		fd_close(&fd);
		close_board(r);
	}
	free(text);
}

static void close_lane(struct receiver *r)
{
	struct lane_batch batch;
	int n;

	note_loss(r);
	if (!handoff_has_lane(r))
		return;
	while ((n = lane_receive(r->lane_far, &batch)) > 0 || n == -EMFILE)
		for (unsigned i = 0; i < batch.count; i++)
			share_give_back(sharing_by_number(r->sharing, batch.listeners[i]), batch.fds[i],
					false, NULL);
	fd_close(&r->lane);
	fd_close(&r->lane_far);
}

/* Often enough that every worker may have left or died with it once; then it is closed: it may be what
 * they die of. */
static bool comes_back_too_often(struct handoff *h)
{
	return h->share && refusals_return(&h->refusals) > 2 * h->share->seat_count + RETURNS_AT_LEAST;
}

static void give_back(struct handoff *h)
{
	struct refusals *refusals;

	if (comes_back_too_often(h))
		h->share = NULL;
	refusals = h->refusals;
	h->refusals = NULL;
	share_give_back(h->share, fd_steal(&h->fd), true, refusals);
}

/* What it was handed and has not taken goes to others. */
void handoff_give_back_all(struct receiver *r)
{
	struct handoff *h;

	while ((h = TAILQ_FIRST(&r->handoffs))) {
		if (h->seq >= 0)
			give_back(h);
		handoff_remove(r, h);
	}
	close_lane(r);
}

void handoff_forget_share(struct receiver *r, const struct share *share)
{
	struct handoff *h;

	TAILQ_FOREACH (h, &r->handoffs, link)
		if (h->share == share)
			h->share = NULL;
}

/* ---- and its answers ---- */

/* Who may be answered next. One that still waits in our queue is not: its answer is invented, and
 * believing it would close a descriptor that the queue is about to send. */
static struct handoff *first_unacked(struct receiver *r)
{
	struct handoff *h, *first = NULL;
	unsigned count = 0;

	TAILQ_FOREACH (h, &r->handoffs, link) {
		if (h->acked)
			continue;
		if (!first)
			first = h;
		count++;
	}
	return count > r->channel.out_fds ? first : NULL;
}

/* One that serves the address no longer has not refused it: it has left. */
static void refused(struct receiver *r, struct handoff *h)
{
	int seat = h->share ? share_seat_of(h->share, r) : -1;

	if (seat >= 0)
		h->share->seats[seat].refused++;
	if (seat >= 0 && refusals_add(&h->refusals, r->id) < 0)
		h->share = NULL; /* it would come back for ever */
	give_back(h);
}

int handoff_acked(struct receiver *r)
{
	struct handoff *h = first_unacked(r);

	if (!h)
		return receiver_breach(r, "NODE_HANDLE_ACK for nothing");
	h->acked = true;
	if (h->seq < 0)
		handoff_remove(r, h);
	if (r->wants_writable)
		receiver_touch(r);
	return 0;
}

/* It is out of descriptors, for the moment perhaps: again, a few times, as Node does. */
static bool send_again(struct receiver *r, struct handoff *h)
{
	if (!h->text)
		return false;
	if (h->sent++ == MESSAGE_TRIES) {
		events_add_failed(r->sharing->events, r->worker, -EMFILE,
				  "it did not get the descriptor of a message: it is out of descriptors");
		return false;
	}
	TAILQ_REMOVE(&r->handoffs, h, link);
	TAILQ_INSERT_TAIL(&r->handoffs, h, link);
	receiver_send(r, h->text, h->text_len, h->fd, CHANNEL_LEND_FD);
	return true;
}

int handoff_nacked(struct receiver *r, struct handoff_query *ret)
{
	struct handoff *h = first_unacked(r);

	if (!h)
		return receiver_breach(r, "NODE_HANDLE_NACK for nothing");
	*ret = (struct handoff_query){NULL, -1};
	if (send_again(r, h))
		return 0;
	if (h->seq >= 0)
		refused(r, h);
	if (h->query >= 0)
		*ret = (struct handoff_query){h->share, h->query};
	if (h->is_lane)
		close_lane(r); /* it is out of descriptors: it is served by newconn */
	if (h->is_board)
		close_board(r);
	handoff_remove(r, h);
	return 0;
}

int handoff_answered(struct receiver *r, const struct node_message *m)
{
	struct handoff *h;

	TAILQ_FOREACH (h, &r->handoffs, link)
		if (h->seq >= 0 && h->seq == m->ack)
			break;
	if (!h)
		return 0; /* an answer to nothing: Node ignores it too */
	if (!h->acked)
		return receiver_breach(r, "an answer to newconn before its NODE_HANDLE_ACK");
	if (m->accepted)
		counting_accepted(r);
	else
		refused(r, h);
	handoff_remove(r, h);
	counting_look(r);
	return 0;
}
