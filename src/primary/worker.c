#include "primary/worker.h"

#include "base/fd.h"
#include "net/rotation.h"
#include "primary/settings.h"
#include "primary/spawn.h"
#include "wire/node.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NEWCONN_MAX = ADDRESS_PATH_MAX * 6 + 256 }; /* a path of control characters, all escaped */

static void worker_part(struct umbel_worker *w);

static uint64_t now_ms(void)
{
	return uv_hrtime() / 1000000;
}

/* ---- memory: a worker lives until its handles are closed and its GONE was told ---- */

static void unreference(struct umbel_worker *w)
{
	if (--w->references == 0)
		free(w);
}

static void on_handle_closed(uv_handle_t *handle)
{
	unreference(handle->data);
}

static void on_gone_told(struct queued_event *e)
{
	struct umbel_worker *w = e->event.worker;

	for (int i = 0; i < 3; i++)
		fd_close(&w->stdio[i]);
	unreference(w);
}

/* ---- sending ---- */

static void mark_dirty(struct umbel_worker *w)
{
	if (!w->dirty)
		TAILQ_INSERT_TAIL(&w->cluster->dirty, w, dirty_link);
	w->dirty = true;
}

/* An internal message without memory is a broken promise to the worker: end it rather than hang it. */
static void send_internal(struct umbel_worker *w, const char *text, size_t len, int fd, unsigned flags)
{
	if (!channel_is_open(&w->channel))
		return;
	if (!text || channel_send(&w->channel, text, len, fd, CHANNEL_URGENT | flags) < 0)
		worker_kill_group(w, SIGKILL);
	else
		mark_dirty(w);
}

void worker_reply(struct umbel_worker *w, char *text)
{
	send_internal(w, text, text ? strlen(text) : 0, -1, 0);
	free(text);
}

static void on_channel(uv_poll_t *poll, int status, int events);

static void watch(struct umbel_worker *w, bool output)
{
	if (w->watches_output != output)
		uv_poll_start(&w->channel_poll, UV_READABLE | (output ? UV_WRITABLE : 0), on_channel);
	w->watches_output = output;
}

void worker_flush(struct umbel_worker *w)
{
	int r;

	w->dirty = false;
	if (!channel_is_open(&w->channel))
		return;
	r = channel_flush(&w->channel);
	/* A broken pipe is told by reading: what the worker said last comes first. */
	watch(w, r == 1);
	if (w->wants_writable && w->channel.out_bytes <= w->channel.max_queue / 2) {
		w->wants_writable = false;
		events_add(w->cluster->events, UMBEL_WRITABLE, w, "", 0);
	}
}

static struct handoff *handoff_add(struct umbel_worker *w)
{
	struct handoff *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->fd = -1;
	h->seq = -1;
	TAILQ_INSERT_TAIL(&w->handoffs, h, link);
	return h;
}

static void handoff_remove(struct umbel_worker *w, struct handoff *h)
{
	TAILQ_REMOVE(&w->handoffs, h, link);
	if (h->seq >= 0)
		w->unanswered--;
	fd_close(&h->fd);
	free(h);
}

static const char *handle_type(int fd, bool to_libumbel)
{
	int type = 0, listening = 0;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM) {
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
		return listening ? "net.Server" : "net.Socket";
	}
	return to_libumbel ? "umbel.Fd" : NULL;
}

static int send_with_fd(struct umbel_worker *w, const char *type, const char *json, size_t len, int fd)
{
	size_t text_len;
	char *text = node_encode_user_handle(type, json, len, &text_len);
	struct handoff *h = text ? handoff_add(w) : NULL;
	int err = h ? channel_send(&w->channel, text, text_len, fd, 0) : -ENOMEM;

	if (err && h)
		handoff_remove(w, h);
	free(text);
	return err;
}

int worker_send(struct umbel_worker *w, const char *json, size_t len, int fd)
{
	const char *type;
	int err;

	if (!w->connected)
		return -EPIPE;
	if (fd < 0) {
		err = channel_send(&w->channel, json, len, -1, 0);
	} else {
		type = handle_type(fd, w->is_libumbel);
		if (!type)
			return -ENOTSUP;
		err = send_with_fd(w, type, json, len, fd);
	}
	if (err == -EAGAIN)
		w->wants_writable = true;
	if (!err)
		mark_dirty(w);
	return err;
}

/* ---- connections ---- */

bool worker_has_lane(const struct umbel_worker *w)
{
	return w->lane >= 0;
}

int worker_load(struct umbel_worker *w)
{
	unsigned waiting;

	if (!worker_has_lane(w))
		return w->unanswered >= (int)w->cluster->settings.window ? ROTATION_FULL : w->unanswered;
	if (w->lane_credit == 0) {
		waiting = lane_waiting(w->lane_far);
		w->lane_credit = waiting < LANE_LIMIT ? LANE_LIMIT - waiting : 0;
	}
	return w->lane_credit > 0 ? 0 : ROTATION_FULL;
}

static int hand_by_channel(struct umbel_worker *w, struct share *share, int fd, unsigned refusals)
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
	send_internal(w, text, len, fd, CHANNEL_LEND_FD);
	return 0;
}

int worker_hand(struct umbel_worker *w, struct share *share, int fd, unsigned refusals)
{
	w->handed++;
	if (!worker_has_lane(w) || share->number < 0)
		return hand_by_channel(w, share, fd, refusals);
	w->lane_credit--;
	w->lane_out.fds[w->lane_out.count] = fd;
	w->lane_out.listeners[w->lane_out.count++] = (uint8_t)share->number;
	return 0;
}

int worker_flush_lane(struct umbel_worker *w)
{
	int err = lane_send(w->lane, &w->lane_out);

	if (err)
		w->lane_credit = 0; /* look before the next one */
	return err;
}

/* Lends the worker its end of a new lane. */
static void open_lane(struct umbel_worker *w)
{
	struct handoff *h;
	char *text;

	if (worker_has_lane(w) || lane_open(&w->lane, &w->lane_far) < 0)
		return; /* without a lane it is served by newconn */
	text = node_encode_lane();
	h = text ? handoff_add(w) : NULL;
	if (h && sharing_watch_lane(w->cluster, w->lane) == 0) {
		send_internal(w, text, strlen(text), w->lane_far, CHANNEL_LEND_FD);
		w->lane_credit = LANE_LIMIT;
	} else {
		if (h)
			handoff_remove(w, h);
		fd_close(&w->lane);
		fd_close(&w->lane_far);
	}
	free(text);
}

/* What it was handed and has not taken goes to others. */
static void give_back_all(struct umbel_worker *w)
{
	struct cluster *c = w->cluster;
	struct lane_batch batch;
	struct handoff *h;

	while ((h = TAILQ_FIRST(&w->handoffs))) {
		if (h->seq >= 0)
			sharing_give_back(c, h->share, fd_steal(&h->fd), true, h->refusals, 0);
		handoff_remove(w, h);
	}
	if (!worker_has_lane(w))
		return;
	while (lane_receive(w->lane_far, &batch) > 0)
		for (unsigned i = 0; i < batch.count; i++)
			sharing_give_back(c, sharing_by_number(c, batch.listeners[i]), batch.fds[i],
					  false, 0, 0);
	fd_close(&w->lane);
	fd_close(&w->lane_far);
}

void worker_forget_share(struct umbel_worker *w, const struct share *share)
{
	struct handoff *h;

	TAILQ_FOREACH (h, &w->handoffs, link)
		if (h->share == share)
			h->share = NULL;
}

/* ---- what a worker says ---- */

static int breach(struct umbel_worker *w, const char *what)
{
	char why[256];

	snprintf(why, sizeof(why), "broke the protocol: %s", what);
	events_add_failed(w->cluster->events, w, -EPROTO, why);
	worker_kill_group(w, SIGKILL);
	return -EPROTO;
}

static struct handoff *first_unacked(struct umbel_worker *w)
{
	struct handoff *h;

	TAILQ_FOREACH (h, &w->handoffs, link)
		if (!h->acked)
			return h;
	return NULL;
}

static int on_ack(struct umbel_worker *w)
{
	struct handoff *h = first_unacked(w);

	if (!h)
		return breach(w, "NODE_HANDLE_ACK for nothing");
	h->acked = true;
	if (h->seq < 0)
		handoff_remove(w, h);
	return 0;
}

static int on_nack(struct umbel_worker *w)
{
	struct handoff *h = first_unacked(w);

	if (!h)
		return breach(w, "NODE_HANDLE_NACK for nothing");
	if (h->seq >= 0)
		sharing_give_back(w->cluster, h->share, fd_steal(&h->fd), true, h->refusals + 1, w->id);
	handoff_remove(w, h);
	return 0;
}

static int on_reply(struct umbel_worker *w, const struct node_message *m)
{
	struct handoff *h;

	TAILQ_FOREACH (h, &w->handoffs, link)
		if (h->seq >= 0 && h->seq == m->ack)
			break;
	if (!h)
		return 0; /* an answer to nothing: Node ignores it too */
	if (!h->acked)
		return breach(w, "an answer to newconn before its NODE_HANDLE_ACK");
	if (!m->accepted)
		sharing_give_back(w->cluster, h->share, fd_steal(&h->fd), true, h->refusals + 1, w->id);
	handoff_remove(w, h);
	return 0;
}

static void on_online(struct umbel_worker *w)
{
	w->online = true;
	events_add(w->cluster->events, UMBEL_ONLINE, w, "", 0);
}

static void on_listening(struct umbel_worker *w, const struct node_message *m)
{
	struct cluster *c = w->cluster;
	const struct share *s = sharing_find_listening(c, w, &m->query);
	const char *address = s ? s->address : "(its own socket)";
	struct queued_event *e;

	w->listened = true;
	if (w->state == UMBEL_STATE_STARTING)
		w->state = UMBEL_STATE_READY;
	cluster_worker_listens(c);
	e = events_add(c->events, UMBEL_LISTENING, w, address, strlen(address));
	if (!e)
		return;
	e->event.listening.address = e->text;
	e->event.listening.family = s ? s->listener.address.family : AF_UNSPEC;
	e->event.listening.port = s ? s->listener.address.port : 0;
}

static void on_leaving(struct umbel_worker *w, const struct node_message *m)
{
	w->asked = true;
	worker_reply(w, node_encode_ack(m->seq, w->seq++));
}

static void on_exec_failed(struct umbel_worker *w, const struct node_message *m)
{
	if (w->online)
		return; /* it has a program: only its own child would say this */
	w->exec_error = m->error;
	snprintf(w->exec_step, sizeof(w->exec_step), "%s", m->step ? m->step : "exec");
}

static int on_internal(struct umbel_worker *w, const char *text, size_t len)
{
	struct node_message m;
	int err = node_decode(text, len, &m);

	if (err == -ENOMEM)
		return 0;
	if (err)
		return breach(w, "a cluster message that is none");
	switch (m.type) {
	case NODE_ONLINE:
		on_online(w);
		break;
	case NODE_QUERY:
		/* One that has been told to leave gets no answer (as in Node). */
		if (!w->asked)
			sharing_query(w->cluster, w, &m);
		break;
	case NODE_LISTENING:
		on_listening(w, &m);
		break;
	case NODE_CLOSE:
		sharing_leave(w->cluster, w, m.key);
		break;
	case NODE_LEAVING:
		on_leaving(w, &m);
		break;
	case NODE_REPLY:
		err = on_reply(w, &m);
		break;
	case NODE_UMBEL_HELLO:
		w->is_libumbel = true;
		open_lane(w);
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
	*ret_fd = channel_take_fd(&w->channel);
	if (*ret_fd >= 0) {
		send_internal(w, NODE_ACK_TEXT, strlen(NODE_ACK_TEXT), -1, 0);
		return 0;
	}
	send_internal(w, NODE_NACK_TEXT, strlen(NODE_NACK_TEXT), -1, 0);
	return -EBADF;
}

static int on_line(struct umbel_worker *w, const char *line, size_t len)
{
	struct events *events = w->cluster->events;
	struct queued_event *e;
	struct node_line l;
	int fd = -1;

	if (node_read_line(line, len, &l) < 0)
		return breach(w, "a line that is not JSON");
	if (l.kind == NODE_LINE_ACK)
		return on_ack(w);
	if (l.kind == NODE_LINE_NACK)
		return on_nack(w);
	if (l.has_fd && take_handle(w, &fd) < 0)
		return 0;
	if (l.kind == NODE_LINE_INTERNAL) {
		fd_close(&fd); /* the primary asked for none */
		return on_internal(w, l.text, l.len);
	}
	/* What nobody listens to is not copied. */
	if (!events->handlers[UMBEL_MESSAGE].f) {
		fd_close(&fd);
		return 0;
	}
	e = events_add(events, UMBEL_MESSAGE, w, l.text, l.len);
	if (!e) {
		fd_close(&fd);
		return 0;
	}
	e->event.message.json = e->text;
	e->event.message.len = l.len;
	e->event.message.fd = fd;
	return 0;
}

/* All whole lines that were read. 0, or -EPROTO: the worker has been ended. */
static int read_lines(struct umbel_worker *w)
{
	char *line;
	size_t len;
	int r;

	while ((r = channel_next_line(&w->channel, &line, &len)) == 1)
		if (on_line(w, line, len) < 0)
			return -EPROTO;
	if (r < 0) {
		char what[96];

		snprintf(what, sizeof(what), "a message of more than %zu bytes", w->channel.max_message);
		return breach(w, what);
	}
	channel_drop_strays(&w->channel);
	return 0;
}

static void say_disconnect_when_idle(struct umbel_worker *w)
{
	if (!w->asked || w->told_disconnect || w->unanswered > 0 || w->state != UMBEL_STATE_DRAINING)
		return;
	w->told_disconnect = true;
	worker_reply(w, node_encode_act("disconnect", w->seq++));
}

static void on_channel(uv_poll_t *poll, int status, int events)
{
	struct umbel_worker *w = poll->data;
	int n;

	if (events & UV_WRITABLE)
		worker_flush(w);
	if (status == 0 && !(events & (UV_READABLE | UV_DISCONNECT)))
		return;
	n = channel_read(&w->channel);
	if (n == -EAGAIN || n == -ENOMEM)
		return;
	if (n == -EMFILE)
		breach(w, "more descriptors than messages");
	if (n <= 0 || read_lines(w) < 0)
		worker_part(w);
	say_disconnect_when_idle(w);
	sharing_resume(w->cluster);
}

/* ---- its end ---- */

static void on_grace(uv_timer_t *timer)
{
	worker_kill_group(timer->data, SIGKILL);
}

void worker_kill_group(struct umbel_worker *w, int sig)
{
	if (w->state == UMBEL_STATE_DEAD)
		return;
	if (sig == SIGKILL || sig == SIGTERM)
		w->state = UMBEL_STATE_STOPPING;
	kill(-w->pid, sig);
}

void worker_ask(struct umbel_worker *w)
{
	if (w->state == UMBEL_STATE_DEAD || w->state == UMBEL_STATE_STOPPING ||
	    w->state == UMBEL_STATE_DRAINING)
		return;
	w->asked = true;
	sharing_leave_all(w->cluster, w);
	uv_timer_start(&w->grace, on_grace, w->cluster->settings.grace_ms, 0);
	/* One that never spoke would not understand, and serves nobody. */
	if (!w->online || !w->connected) {
		worker_kill_group(w, SIGTERM);
		return;
	}
	w->state = UMBEL_STATE_DRAINING;
	say_disconnect_when_idle(w);
}

/* The channel is over, the process perhaps not. */
static void worker_part(struct umbel_worker *w)
{
	if (!channel_is_open(&w->channel))
		return;
	uv_close((uv_handle_t *)&w->channel_poll, on_handle_closed);
	channel_close(&w->channel);
	if (w->connected) {
		w->connected = false;
		sharing_leave_all(w->cluster, w);
		give_back_all(w);
		events_add(w->cluster->events, UMBEL_DISCONNECT, w, "", 0);
	}
	/* Drained. A timer or a connection to a database would keep it alive for ever. */
	if (w->state == UMBEL_STATE_DRAINING)
		worker_kill_group(w, SIGTERM);
}

static void emit_exit(struct umbel_worker *w, const siginfo_t *info)
{
	struct queued_event *e;
	char why[PATH_MAX + 128];

	if (w->exec_error) {
		snprintf(why, sizeof(why), "cannot start %s: %s: %s", w->cluster->settings.exec
			 ? w->cluster->settings.exec : "this program", w->exec_step,
			 strerror(w->exec_error));
		events_add_failed(w->cluster->events, w, -w->exec_error, why);
		return;
	}
	e = events_add(w->cluster->events, UMBEL_EXIT, w, "", 0);
	if (!e)
		return;
	e->event.exit.code = info->si_code == CLD_EXITED ? info->si_status : -1;
	e->event.exit.signal = info->si_code == CLD_EXITED ? -1 : info->si_status;
	e->event.exit.core = info->si_code == CLD_DUMPED;
	e->event.exit.asked = w->asked;
	e->event.exit.up_ms = (int64_t)(now_ms() - w->started_ms);
}

/* What it said before it died still counts. */
static void read_the_rest(struct umbel_worker *w)
{
	while (channel_is_open(&w->channel) && channel_read(&w->channel) > 0)
		if (read_lines(w) < 0)
			break;
	worker_part(w);
}

static void finish(struct umbel_worker *w)
{
	struct queued_event *e;

	TAILQ_REMOVE(&w->cluster->workers, w, link);
	if (w->dirty)
		TAILQ_REMOVE(&w->cluster->dirty, w, dirty_link);
	w->dirty = false;
	uv_close((uv_handle_t *)&w->death, on_handle_closed);
	uv_close((uv_handle_t *)&w->grace, on_handle_closed);
	fd_close(&w->pidfd);
	e = events_add(w->cluster->events, UMBEL_GONE, w, "", 0);
	if (e)
		e->told = on_gone_told;
}

static bool is_dead(struct umbel_worker *w, siginfo_t *info, int flags)
{
	info->si_pid = 0;
	return waitid(P_PIDFD, (id_t)w->pidfd, info, WEXITED | flags) == 0 && info->si_pid == w->pid;
}

static void on_death(uv_poll_t *poll, int status, int events)
{
	struct umbel_worker *w = poll->data;
	struct cluster *c = w->cluster;
	siginfo_t info;

	if (!is_dead(w, &info, WNOHANG | WNOWAIT))
		return;
	/* Its group goes with it, while its number is still taken: what a launcher leaves behind would
	 * serve on beside the successor. */
	kill(-w->pid, SIGKILL);
	is_dead(w, &info, WNOHANG);
	read_the_rest(w);
	w->state = UMBEL_STATE_DEAD;
	emit_exit(w, &info);
	finish(w);
	sharing_resume(c); /* before a successor is forked, which would hold copies for a moment */
	cluster_worker_dead(c, w);
}

void worker_destroy(struct umbel_worker *w)
{
	siginfo_t info;

	kill(-w->pid, SIGKILL);
	is_dead(w, &info, 0);
	w->state = UMBEL_STATE_DEAD;
	worker_part(w);
	finish(w);
}

/* ---- its start ---- */

static int build_environment(const struct umbel_worker *w, char ***ret)
{
	char slot[32], id[32], instance[40], unique[40];
	char *own[] = {slot, id, "UMBEL_GENERATION=1", instance, NULL};
	char *node[] = {"NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=json", unique, NULL};
	char *channel[] = {"UMBEL_CHANNEL=3", NULL};
	char *const *more[] = {w->cluster->settings.env, w->slot->env, own,
			       w->kind == KIND_NODE      ? node
			       : w->kind == KIND_CHANNEL ? channel
							 : NULL};

	snprintf(slot, sizeof(slot), "UMBEL_SLOT=%d", w->slot->number);
	snprintf(id, sizeof(id), "UMBEL_WORKER=%u", w->id);
	snprintf(instance, sizeof(instance), "NODE_APP_INSTANCE=%d", w->slot->number - 1);
	snprintf(unique, sizeof(unique), "NODE_UNIQUE_ID=%u", w->id);
	return environment_build(environ, more, sizeof(more) / sizeof(more[0]), ret);
}

/* theirs[i] is what the child gets; those that were opened for it are closed by the caller. */
static int open_stdio(struct umbel_worker *w, int theirs[3], bool opened[3])
{
	for (int i = 0; i < 3; i++) {
		int setting = w->cluster->settings.stdio[i], ends[2];

		theirs[i] = setting;
		if (setting == UMBEL_STDIO_PIPE) {
			if (pipe2(ends, O_CLOEXEC) < 0)
				return -errno;
			theirs[i] = ends[i == 0 ? 0 : 1];
			w->stdio[i] = ends[i == 0 ? 1 : 0];
			opened[i] = true;
		} else if (setting == UMBEL_STDIO_INHERIT && i > 0 && fcntl(i, F_GETFD) >= 0) {
			theirs[i] = i;
		} else if (setting == UMBEL_STDIO_INHERIT) {
			theirs[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
			if (theirs[i] < 0)
				return -errno;
			opened[i] = true;
		}
	}
	return 0;
}

static int find_program(struct cluster *c, enum kind *ret_kind, char *path, size_t size)
{
	const char *name = c->settings.exec ? c->settings.exec : c->argv[0];
	int err = spawn_find(name, c->settings.cwd, path, size);

	if (err)
		return reason_set(c->reason, err, "cannot execute %s: %s", name, strerror(-err));
	*ret_kind = c->kind != KIND_AUTO	    ? c->kind
		    : c->settings.exec == NULL ? KIND_CHANNEL
					       : kind_of_program(name, path);
	return 0;
}

static int spawn_it(struct umbel_worker *w, const char *path, int channel)
{
	struct cluster *c = w->cluster;
	int theirs[3] = {-1, -1, -1};
	bool opened[3] = {false, false, false};
	char **env = NULL;
	int err = build_environment(w, &env);

	err = err ? err : open_stdio(w, theirs, opened);
	if (!err) {
		struct spawn s = {
		    .path = path,
		    .argv = c->settings.argv ? c->settings.argv : c->argv,
		    .env = env,
		    .cwd = c->settings.cwd,
		    .uid = c->settings.uid,
		    .gid = c->settings.gid,
		    .stdio = {theirs[0], theirs[1], theirs[2]},
		    .channel = channel,
		    .keep_channel = w->kind != KIND_NONE,
		    .nofile = c->nofile,
		};
		err = spawn_process(&s, &w->pid, &w->pidfd);
	}
	for (int i = 0; i < 3; i++) {
		if (opened[i])
			fd_close(&theirs[i]);
		if (err)
			fd_close(&w->stdio[i]);
	}
	strings_free(env);
	return err;
}

static int attach(struct umbel_worker *w, int channel)
{
	struct cluster *c = w->cluster;

	channel_open(&w->channel, channel, c->settings.max_message, c->settings.max_queue);
	uv_poll_init(&c->loop, &w->channel_poll, channel);
	uv_poll_init(&c->loop, &w->death, w->pidfd);
	uv_timer_init(&c->loop, &w->grace);
	w->channel_poll.data = w->death.data = w->grace.data = w;
	w->references = 4; /* three handles and GONE */
	uv_poll_start(&w->channel_poll, UV_READABLE, on_channel);
	return uv_poll_start(&w->death, UV_READABLE, on_death);
}

static struct umbel_worker *worker_new(struct cluster *c, struct slot *slot, enum kind kind)
{
	struct umbel_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->cluster = c;
	w->slot = slot;
	w->slot_number = slot->number;
	w->id = c->last_id + 1;
	w->kind = kind;
	w->connected = kind != KIND_NONE;
	w->started_ms = now_ms();
	w->pidfd = w->lane = w->lane_far = -1;
	w->stdio[0] = w->stdio[1] = w->stdio[2] = -1;
	TAILQ_INIT(&w->handoffs);
	return w;
}

int worker_start(struct cluster *c, struct slot *slot, struct umbel_worker **ret)
{
	char path[PATH_MAX];
	struct umbel_worker *w;
	enum kind kind = KIND_NONE;
	int ends[2], err = find_program(c, &kind, path, sizeof(path));

	if (err)
		return err;
	w = worker_new(c, slot, kind);
	if (!w)
		return reason_set(c->reason, -ENOMEM, "out of memory");
	err = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
	if (!err) {
		err = spawn_it(w, path, ends[1]);
		fd_close(&ends[1]);
		if (err)
			fd_close(&ends[0]);
	}
	if (err) {
		free(w);
		return reason_set(c->reason, err, "cannot start a worker: %s", strerror(-err));
	}
	attach(w, ends[0]);
	c->last_id++;
	slot->worker = w;
	TAILQ_INSERT_TAIL(&c->workers, w, link);
	events_add(c->events, UMBEL_FORK, w, "", 0);
	*ret = w;
	return 0;
}
