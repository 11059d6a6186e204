#include "primary/handoff.h"

#include "base/fd.h"
#include "net/rotation.h"
#include "primary/counting.h"
#include "primary/dialogue.h"
#include "primary/query.h"
#include "wire/handle.h"
#include "wire/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	NEWCONN_MAX = ADDRESS_PATH_MAX * 6 + 256, /* a path of control characters, all escaped */
	RETURNS_AT_LEAST = 8,
	ROOM_MS = 10, /* until it is looked again whether a worker that has no descriptors left has some */
	MESSAGE_TRIES = 4,                        /* Node's: once, and three times again */
};

/* ---- what is on its way ---- */

struct handoff *handoff_add(struct umbel_worker *w)
{
	struct handoff *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->fd = -1;
	h->seq = h->query = -1;
	TAILQ_INSERT_TAIL(&w->handoffs, h, link);
	return h;
}

void handoff_remove(struct umbel_worker *w, struct handoff *h)
{
	TAILQ_REMOVE(&w->handoffs, h, link);
	if (h->seq >= 0)
		w->unanswered--;
	if (h->text)
		w->unacked_messages--;
	fd_close(&h->fd);
	refusals_free(h->refusals);
	free(h->text);
	free(h);
}

int handoff_message(struct umbel_worker *w, char *text, size_t len, int fd)
{
	struct handoff *h;
	int err;

	if (w->unacked_messages >= HANDLE_UNACKED_MOST)
		return -EAGAIN;
	h = handoff_add(w);
	err = h ? channel_send(&w->channel, text, len, fd, CHANNEL_LEND_FD) : -ENOMEM;
	if (!err) {
		w->unacked_messages++;
		h->text = text;
		h->text_len = len;
		h->fd = fd;
		h->sent = 1;
	} else if (h) {
		handoff_remove(w, h);
	}
	return err;
}

unsigned handoff_lent_count(const struct umbel_worker *w)
{
	const struct handoff *h;
	unsigned count = 0;

	TAILQ_FOREACH (h, &w->handoffs, link)
		count += h->query >= 0;
	return count;
}

/* ---- to the worker ---- */

bool handoff_has_room(const struct umbel_worker *w)
{
	return w->unacked_messages <= HANDLE_UNACKED_MOST / 2;
}

bool handoff_has_lane(const struct umbel_worker *w)
{
	return w->lane >= 0;
}

/* Beyond LANE_LIMIT it has not said the truth. */
static unsigned waits_in_lane(const struct umbel_worker *w, const struct scoreboard_view *v)
{
	uint64_t waiting = w->lane_sent - v->received;

	if (!handoff_has_lane(w) || waiting > INT64_MAX)
		return 0;
	return waiting < LANE_LIMIT ? (unsigned)waiting : LANE_LIMIT;
}

unsigned handoff_active(const struct umbel_worker *w, bool *known)
{
	struct scoreboard_view v = {.heartbeat = 0};
	unsigned on_its_way = (unsigned)w->unanswered + w->lane_out.count;

	if (w->board)
		scoreboard_read(w->board, &v);
	*known = v.heartbeat > 0;
	if (*known)
		return on_its_way + waits_in_lane(w, &v) + v.active;
	if (w->counting.known) {
		*known = true;
		return on_its_way + w->counting.open;
	}
	return on_its_way + (handoff_has_lane(w) ? lane_waiting(w->lane_far) : 0);
}

/* Its lane tells when it reads, nobody tells when it finishes. To ask it for a word each time would cost the
 * worker a call for what its page says anyway. */
static void look_again_for_room(struct umbel_worker *w)
{
	if (!w->deadlines[DEADLINE_ROOM])
		worker_deadline(w, DEADLINE_ROOM, ROOM_MS);
}

/* Connections that surely have room: in the lane, and in what it has descriptors for: what is sent to it beyond
 * that would be lost. */
static unsigned look_for_room(struct umbel_worker *w)
{
	unsigned waiting = lane_waiting(w->lane_far) + w->lane_out.count, active, room;
	bool known;

	room = waiting < LANE_LIMIT ? LANE_LIMIT - waiting : 0;
	if (room == 0 || w->most_active == 0)
		return room;
	active = handoff_active(w, &known);
	if (active < w->most_active)
		return room < w->most_active - active ? room : w->most_active - active;
	look_again_for_room(w);
	return 0;
}

int handoff_load(struct umbel_worker *w)
{
	if (!w->takes)
		return ROTATION_FULL;
	if (!handoff_has_lane(w))
		return w->unanswered >= (int)w->cluster->settings.window ? ROTATION_FULL : w->unanswered;
	if (w->lane_credit == 0)
		w->lane_credit = look_for_room(w);
	return w->lane_credit > 0 ? 0 : ROTATION_FULL;
}

static int hand_by_channel(struct umbel_worker *w, struct share *share, int fd, struct refusals *refusals)
{
	char text[NEWCONN_MAX];
	uint32_t seq = w->seq++;
	size_t len = node_write_newconn(text, sizeof(text), share->key_json, seq);
	struct handoff *h = handoff_add(w);

	if (!h)
		return -ENOMEM;
	h->share = share;
	h->fd = fd;
	h->seq = seq;
	h->refusals = refusals;
	w->unanswered++;
	counting_look(w);
	dialogue_send(w, text, len, fd, CHANNEL_LEND_FD);
	return 0;
}

int handoff_give(struct umbel_worker *w, struct share *share, int fd, struct refusals *refusals)
{
	w->handed++;
	if (!handoff_has_lane(w) || share->number < 0)
		return hand_by_channel(w, share, fd, refusals);
	refusals_free(refusals); /* the primary does not see what happens there */
	w->lane_credit--;
	w->lane_out.fds[w->lane_out.count] = fd;
	w->lane_out.listeners[w->lane_out.count++] = (uint8_t)share->number;
	return 0;
}

static void note_loss(struct umbel_worker *w)
{
	if (w->noted_loss || !w->board || atomic_load(&w->board->lost) == 0)
		return;
	w->noted_loss = true;
	cluster_note(w->cluster, w->slot->number, "lost", "pid %d has lost connections: it was out of descriptors",
		     (int)w->pid);
}

int handoff_flush_lane(struct umbel_worker *w)
{
	int err = lane_send(w->lane, &w->lane_out);

	if (err)
		w->lane_credit = 0; /* look before the next one */
	else
		w->lane_sent += w->lane_out.count;
	note_loss(w);
	if (err && err != -EAGAIN)
		dialogue_breach(w, "its lane is shut");
	return err;
}

static void close_board(struct umbel_worker *w)
{
	scoreboard_unmap(w->board);
	w->board = NULL;
}

/* Lends the worker its end of a new lane. */
void handoff_open_lane(struct umbel_worker *w)
{
	struct handoff *h;
	char *text;

	if (handoff_has_lane(w) || lane_open(&w->lane, &w->lane_far) < 0)
		return; /* without a lane it is served by newconn */
	text = node_encode_lane();
	h = text ? handoff_add(w) : NULL;
	if (h && sharing_watch_lane(w->cluster, w->lane) == 0) {
		h->is_lane = true;
		dialogue_send(w, text, strlen(text), w->lane_far, CHANNEL_LEND_FD);
	} else {
		if (h)
			handoff_remove(w, h);
		fd_close(&w->lane);
		fd_close(&w->lane_far);
	}
	free(text);
}

void handoff_open_board(struct umbel_worker *w)
{
	struct handoff *h;
	char *text;
	int fd;

	if (w->board || scoreboard_create(&fd, &w->board) < 0)
		return;
	text = node_encode_scoreboard();
	h = text ? handoff_add(w) : NULL;
	if (h) {
		h->fd = fd;
		h->is_board = true;
		dialogue_send(w, text, strlen(text), fd, CHANNEL_LEND_FD);
	} else {
		fd_close(&fd);
		close_board(w);
	}
	free(text);
}

static void close_lane(struct umbel_worker *w)
{
	struct lane_batch batch;
	int r;

	note_loss(w);
	if (!handoff_has_lane(w))
		return;
	while ((r = lane_receive(w->lane_far, &batch)) > 0 || r == -EMFILE)
		for (unsigned i = 0; i < batch.count; i++)
			share_give_back(sharing_by_number(w->cluster, batch.listeners[i]), batch.fds[i],
					false, NULL);
	fd_close(&w->lane);
	fd_close(&w->lane_far);
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
void handoff_give_back_all(struct umbel_worker *w)
{
	struct handoff *h;

	while ((h = TAILQ_FIRST(&w->handoffs))) {
		if (h->seq >= 0)
			give_back(h);
		handoff_remove(w, h);
	}
	close_lane(w);
}

void handoff_forget_share(struct umbel_worker *w, const struct share *share)
{
	struct handoff *h;

	TAILQ_FOREACH (h, &w->handoffs, link)
		if (h->share == share)
			h->share = NULL;
}

/* ---- and its answers ---- */

/* Who may be answered next. One that still waits in our queue is not: its answer is invented, and
 * believing it would close a descriptor that the queue is about to send. */
static struct handoff *first_unacked(struct umbel_worker *w)
{
	struct handoff *h, *first = NULL;
	unsigned count = 0;

	TAILQ_FOREACH (h, &w->handoffs, link) {
		if (h->acked)
			continue;
		if (!first)
			first = h;
		count++;
	}
	return count > w->channel.out_fds ? first : NULL;
}

/* One that serves the address no longer has not refused it: it has left. */
static void refused(struct umbel_worker *w, struct handoff *h)
{
	int seat = h->share ? share_seat_of(h->share, w) : -1;

	if (seat >= 0)
		h->share->seats[seat].refused++;
	if (seat >= 0 && refusals_add(&h->refusals, w->id) < 0)
		h->share = NULL; /* it would come back for ever */
	give_back(h);
}

int handoff_acked(struct umbel_worker *w)
{
	struct handoff *h = first_unacked(w);

	if (!h)
		return dialogue_breach(w, "NODE_HANDLE_ACK for nothing");
	h->acked = true;
	if (h->seq < 0)
		handoff_remove(w, h);
	if (w->wants_writable)
		dialogue_touch(w);
	return 0;
}

/* It is out of descriptors, for the moment perhaps: again, a few times, as Node does. */
static bool send_again(struct umbel_worker *w, struct handoff *h)
{
	if (!h->text)
		return false;
	if (h->sent++ == MESSAGE_TRIES) {
		events_add_failed(w->cluster->events, w, -EMFILE,
				  "it did not get the descriptor of a message: it is out of descriptors");
		return false;
	}
	TAILQ_REMOVE(&w->handoffs, h, link);
	TAILQ_INSERT_TAIL(&w->handoffs, h, link);
	dialogue_send(w, h->text, h->text_len, h->fd, CHANNEL_LEND_FD);
	return true;
}

int handoff_nacked(struct umbel_worker *w)
{
	struct handoff *h = first_unacked(w);

	if (!h)
		return dialogue_breach(w, "NODE_HANDLE_NACK for nothing");
	if (send_again(w, h))
		return 0;
	if (h->seq >= 0)
		refused(w, h);
	if (h->query >= 0 && h->share)
		query_nacked(w, h->share, h->query);
	if (h->is_lane)
		close_lane(w); /* it is out of descriptors: it is served by newconn */
	if (h->is_board)
		close_board(w);
	handoff_remove(w, h);
	return 0;
}

int handoff_answered(struct umbel_worker *w, const struct node_message *m)
{
	struct handoff *h;

	TAILQ_FOREACH (h, &w->handoffs, link)
		if (h->seq >= 0 && h->seq == m->ack)
			break;
	if (!h)
		return 0; /* an answer to nothing: Node ignores it too */
	if (!h->acked)
		return dialogue_breach(w, "an answer to newconn before its NODE_HANDLE_ACK");
	if (m->accepted)
		counting_accepted(w);
	else
		refused(w, h);
	handoff_remove(w, h);
	counting_look(w);
	return 0;
}
