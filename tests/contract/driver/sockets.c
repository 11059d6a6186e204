/* sockets: the descriptors of a driver beside libumbel's own: pipes of workers, listeners whose next
 * connection is a worker's, sockets for workers, and those that came with messages. */
#include "driver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- pipes ---- */

void sockets_add_pipes(struct driver *d, struct umbel_worker *w)
{
	struct pipe *p = d->pipes;

	for (int i = 0; i < UMBEL_STDIO_MAX; i++) {
		if (umbel_worker_fd(w, i) < 0)
			continue;
		while (p < d->pipes + MAX_PIPES - 1 && p->fd >= 0)
			p++;
		*p = (struct pipe){umbel_worker_fd(w, i), w, i};
	}
}

static void pipe_read(struct pipe *p)
{
	char text[1024];
	ssize_t n = read(p->fd, text, sizeof(text));

	if (n > 0)
		events_say(json_pack("[siis%]", "pipe", (int)umbel_worker_id(p->w), p->index, text,
			     (size_t)n));
	else
		p->fd = -1;
}

void sockets_remove_pipes(struct driver *d, struct umbel_worker *w)
{
	for (struct pipe *p = d->pipes; p < d->pipes + MAX_PIPES; p++)
		if (p->fd >= 0 && p->w == w) {
			pipe_read(p);
			p->fd = -1;
		}
}

int sockets_write_pipe(struct umbel_worker *w, int index, const char *text)
{
	return write(umbel_worker_fd(w, index), text, strlen(text)) < 0 ? -errno : 0;
}

/* ---- to workers ---- */

/* A socket on a port of 127.0.0.1, listening if it can; says which. */
static int open_socket(const char *event, uint32_t id, int type, int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), err;
	socklen_t len = sizeof(at);

	if (bind(fd, (struct sockaddr *)&at, len) < 0 || (type == SOCK_STREAM && listen(fd, 8) < 0) ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	events_say(json_pack("[sii]", event, (int)id, (int)ntohs(at.sin_port)));
	return fd;
}

int sockets_hand(struct driver *d, uint32_t id, int port, json_t *message)
{
	struct hand *h = d->hands;

	while (h < d->hands + MAX_HANDS - 1 && h->fd >= 0)
		h++;
	h->fd = open_socket("hand", id, SOCK_STREAM, port);
	if (h->fd < 0)
		return h->fd;
	h->id = id;
	h->json = json_dumps(message, JSON_COMPACT | JSON_ENCODE_ANY);
	return 0;
}

static void hand_end(struct hand *h)
{
	close(h->fd);
	free(h->json);
	h->fd = -1;
}

static void hand_over(struct driver *d, struct hand *h)
{
	int fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC), err;

	err = umbel_send(d->umbel, umbel_worker(d->umbel, h->id), h->json, strlen(h->json), fd);
	if (err) {
		events_say_error(h->id, err);
		close(fd);
	}
	hand_end(h);
}

int sockets_give(struct driver *d, struct umbel_worker *w, const char *kind, json_t *message)
{
	int type = strcmp(kind, "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM;
	int fd = open_socket("give", umbel_worker_id(w), type, 0);
	char *text = json_dumps(message, JSON_COMPACT | JSON_ENCODE_ANY);
	int err = fd < 0 ? fd : umbel_send(d->umbel, w, text, strlen(text), fd);

	if (err && fd >= 0)
		close(fd);
	free(text);
	return err;
}

/* ---- from workers ---- */

static void taken_end(struct taken *t)
{
	close(t->fd);
	t->fd = -1;
}

static void taken_read(struct taken *t)
{
	ssize_t n = read(t->fd, t->text + t->len, sizeof(t->text) - t->len);

	if (n > 0) {
		t->len += (size_t)n;
		return;
	}
	events_say(json_pack("[sis%]", "data", (int)t->id, t->text, t->len));
	taken_end(t);
}

void sockets_take(struct driver *d, const struct umbel_event *e)
{
	struct taken *t = d->taken;
	int err;

	if (strcmp(d->take, "close") == 0)
		return; /* as it is when nobody takes it */
	while (t < d->taken + MAX_TAKEN - 1 && t->fd >= 0)
		t++;
	*t = (struct taken){.fd = umbel_take_fd(e), .id = umbel_worker_id(e->worker)};
	t->reads = strcmp(d->take, "read") == 0;
	if (strcmp(d->take, "back") != 0)
		return;
	err = umbel_send(d->umbel, e->worker, e->message.json, e->message.len, t->fd);
	if (err) {
		events_say_error(t->id, err);
		taken_end(t);
	}
	t->fd = -1;
}

void sockets_release(struct driver *d)
{
	for (struct taken *t = d->taken; t < d->taken + MAX_TAKEN; t++)
		if (t->fd >= 0)
			taken_end(t);
}

/* ---- all of them ---- */

void sockets_init(struct driver *d)
{
	for (int i = 0; i < MAX_HANDS; i++)
		d->hands[i].fd = -1;
	for (int i = 0; i < MAX_TAKEN; i++)
		d->taken[i].fd = -1;
	for (int i = 0; i < MAX_PIPES; i++)
		d->pipes[i].fd = -1;
}

void sockets_finish(struct driver *d)
{
	sockets_release(d);
	for (int i = 0; i < MAX_HANDS; i++)
		if (d->hands[i].fd >= 0)
			hand_end(&d->hands[i]);
}

nfds_t sockets_poll(const struct driver *d, struct pollfd *p)
{
	nfds_t count = 0;

	for (int i = 0; i < MAX_HANDS; i++)
		if (d->hands[i].fd >= 0)
			p[count++] = (struct pollfd){d->hands[i].fd, POLLIN, 0};
	for (int i = 0; i < MAX_TAKEN; i++)
		if (d->taken[i].fd >= 0 && d->taken[i].reads)
			p[count++] = (struct pollfd){d->taken[i].fd, POLLIN, 0};
	for (int i = 0; i < MAX_PIPES; i++)
		if (d->pipes[i].fd >= 0)
			p[count++] = (struct pollfd){d->pipes[i].fd, POLLIN, 0};
	return count;
}

void sockets_read(struct driver *d, int fd)
{
	for (int i = 0; i < MAX_HANDS; i++)
		if (d->hands[i].fd == fd)
			return hand_over(d, &d->hands[i]);
	for (int i = 0; i < MAX_TAKEN; i++)
		if (d->taken[i].fd == fd)
			return taken_read(&d->taken[i]);
	for (int i = 0; i < MAX_PIPES; i++)
		if (d->pipes[i].fd == fd)
			return pipe_read(&d->pipes[i]);
}
