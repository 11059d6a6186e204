#include "admin/control.h"

#include "admin/parts.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	MAX_CLIENTS = 64,
	MAX_REQUEST = 1 << 20, /* a whole environment fits */
	MAX_QUEUE = 4 << 20, /* a client of `events` that does not read is dropped */
};

/* ---- clients ---- */

static void on_client(uv_poll_t *poll, int status, int events);

static void on_client_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void client_close(struct client *c)
{
	json_decref(c->waiting);
	TAILQ_REMOVE(&c->control->clients, c, link);
	c->control->client_count--;
	uv_close((uv_handle_t *)&c->poll, on_client_closed);
	channel_close(&c->channel);
}

/* Ends the client when it is broken, or leaving and done. */
static void client_flush(struct client *c)
{
	int r = c->stuck ? -EAGAIN : channel_flush(&c->channel);
	int wanted = (c->leaving ? 0 : UV_READABLE) | (r == 1 ? UV_WRITABLE : 0);

	if (r < 0 || (r == 0 && c->leaving)) {
		client_close(c);
		return;
	}
	if (c->watched != wanted)
		uv_poll_start(&c->poll, wanted, on_client);
	c->watched = wanted;
}

void client_send(struct client *c, json_t *answer)
{
	static const char lack[] = "{\"ok\":false,\"error\":\"out of memory\"}";
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	const char *line = text || c->wants_events ? text : lack;

	if (!line || channel_send(&c->channel, line, strlen(line), -1, 0) < 0)
		c->stuck = true; /* or there is no memory */
	free(text);
	json_decref(answer);
}

void client_refuse(struct client *c, const char *why, const char *what)
{
	char text[640];

	snprintf(text, sizeof(text), "%s%s", why, what);
	client_send(c, json_pack("{sb so}", "ok", 0, "error", report_text(text)));
}

static void on_client(uv_poll_t *poll, int status, int events)
{
	struct client *c = poll->data;
	char *line;
	size_t len;
	int n = events & UV_READABLE || status < 0 ? channel_read(&c->channel) : -EAGAIN, r = 0;

	if (n == 0 || (n < 0 && n != -EAGAIN)) {
		client_close(c);
		return;
	}
	while (!c->leaving && !c->stuck && (r = channel_next_line(&c->channel, &line, &len)) == 1 &&
	       len <= MAX_REQUEST)
		request_answer(c, line, len);
	channel_drop_strays(&c->channel);
	if (!c->leaving && (r == 1 || c->channel.in_end - c->channel.in_start > MAX_REQUEST)) {
		client_refuse(c, "a request of more than 1 MiB", "");
		c->leaving = true;
	}
	client_flush(c);
}

static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

/* Who only follows or waits gives way to who may want to end it. */
static bool make_room(struct control *control)
{
	struct client *c;

	if (control->client_count < MAX_CLIENTS)
		return true;
	TAILQ_FOREACH (c, &control->clients, link)
		if (c->wants_events || c->waiting) {
			client_close(c);
			return true;
		}
	return false;
}

static void on_connect(uv_poll_t *poll, int status, int events)
{
	struct control *control = poll->data;
	int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c = NULL;

	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		/* Turned away with the descriptor that is kept for this, or it would be told for ever. */
		fd_close(&control->reserve);
		fd = accept(control->listener, NULL, NULL);
		fd_close(&fd);
		control->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return;
	if (may_ask(fd) && make_room(control))
		c = calloc(1, sizeof(*c));
	if (!c || uv_poll_init(control->loop, &c->poll, fd) < 0) {
		free(c);
		close(fd);
		return;
	}
	c->control = control;
	c->poll.data = c;
	channel_open(&c->channel, fd, MAX_QUEUE, MAX_QUEUE);
	TAILQ_INSERT_TAIL(&control->clients, c, link);
	control->client_count++;
	c->watched = UV_READABLE;
	uv_poll_start(&c->poll, UV_READABLE, on_client);
}

bool control_is_followed(const struct control *control)
{
	struct client *c;

	if (control)
		TAILQ_FOREACH (c, &control->clients, link)
			if (c->wants_events)
				return true;
	return false;
}

void control_tell(struct control *control, json_t *event)
{
	struct client *c, *next;

	for (c = control && event ? TAILQ_FIRST(&control->clients) : NULL; c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (!c->wants_events)
			continue;
		client_send(c, json_incref(event));
		client_flush(c);
	}
	json_decref(event);
}

void control_reload_over(struct control *control)
{
	struct client *c, *next;

	for (c = control ? TAILQ_FIRST(&control->clients) : NULL; c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (!c->waiting)
			continue;
		request_again(c);
		client_flush(c);
	}
}

/* ---- the socket ---- */

static int listen_again(struct control *control)
{
	int fd = runtime_listen(control->rt, control->report->name), err;

	if (fd < 0)
		return fd;
	err = uv_poll_init(control->loop, &control->listener_poll, fd);
	if (err) {
		close(fd);
		return err;
	}
	control->listener = fd;
	control->listener_poll.data = control;
	control->open_handles++;
	return uv_poll_start(&control->listener_poll, UV_READABLE, on_connect);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct control *control = handle->data;

	if (--control->open_handles == 0)
		free(control);
}

static void on_listener_lost(uv_handle_t *handle)
{
	struct control *control = handle->data;

	control->open_handles--;
	if (control->watcher < 0) { /* closed meanwhile */
		if (control->open_handles == 0)
			free(control);
		return;
	}
	listen_again(control);
}

static void on_directory(uv_poll_t *poll, int status, int events)
{
	struct control *control = poll->data;
	char changes[4096];

	while (read(control->watcher, changes, sizeof(changes)) > 0)
		;
	if (control->listener < 0 || runtime_has_socket(control->rt, control->report->name))
		return;
	/* Somebody removed it: it is made again. */
	uv_close((uv_handle_t *)&control->listener_poll, on_listener_lost);
	fd_close(&control->listener);
}

static int watch_directory(struct control *control)
{
	int err;

	control->watcher = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (control->watcher < 0)
		return -errno;
	if (inotify_add_watch(control->watcher, control->rt->path, IN_DELETE | IN_MOVED_FROM) < 0)
		return -errno;
	err = uv_poll_init(control->loop, &control->watcher_poll, control->watcher);
	if (err)
		return err;
	control->watcher_poll.data = control;
	control->open_handles++;
	return uv_poll_start(&control->watcher_poll, UV_READABLE, on_directory);
}

int control_open(uv_loop_t *loop, const struct runtime *rt, struct report *report,
		 struct history *history, control_stop *stop, void *data, struct control **ret)
{
	struct control *control = calloc(1, sizeof(*control));
	int err;

	if (!control)
		return -ENOMEM;
	control->loop = loop;
	control->rt = rt;
	control->report = report;
	control->history = history;
	control->stop = stop;
	control->data = data;
	control->listener = control->watcher = -1;
	control->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	TAILQ_INIT(&control->clients);
	err = watch_directory(control);
	if (!err)
		err = listen_again(control);
	if (!err) {
		*ret = control;
		return 0;
	}
	if (control->open_handles > 0)
		uv_close((uv_handle_t *)&control->watcher_poll, on_handle_closed);
	fd_close(&control->watcher);
	fd_close(&control->reserve);
	if (control->open_handles == 0)
		free(control);
	return err;
}

void control_close(struct control *control)
{
	struct client *c;

	if (!control)
		return;
	while ((c = TAILQ_FIRST(&control->clients)))
		client_close(c);
	if (control->listener >= 0) {
		uv_close((uv_handle_t *)&control->listener_poll, on_handle_closed);
		fd_close(&control->listener);
	}
	uv_close((uv_handle_t *)&control->watcher_poll, on_handle_closed);
	fd_close(&control->watcher);
	fd_close(&control->reserve);
	runtime_remove_socket(control->rt, control->report->name);
}
