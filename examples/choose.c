/* choose: a policy of one's own: the cookie `slot=N`, which every answer sets, brings a client back to the same
 * worker, also from behind a proxy, where all clients have one address. Who has none, or one that names
 * nobody, goes round.
 *
 *     choose [PORT [WORKERS]]     then a few times: curl -b jar -c jar localhost:8000
 *
 * A connection is looked at once, when its first bytes are here: the worker has one request for each. Behind a
 * proxy that sends requests of several clients over one connection the first of them would decide for all. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <umbel.h>
#include <unistd.h>

enum { HEAD_MOST = 8192 };

/* 0: none, or not in what has come so far. */
static int slot_in_cookie(char *head)
{
	char *cookie = strcasestr(head, "\r\nCookie:"), *rest = NULL;

	if (!cookie)
		return 0;
	cookie += strlen("\r\nCookie:");
	cookie[strcspn(cookie, "\r\n")] = '\0';
	for (char *one = strtok_r(cookie, "; ", &rest); one; one = strtok_r(NULL, "; ", &rest))
		if (strncmp(one, "slot=", 5) == 0)
			return (int)strtol(one + 5, NULL, 10);
	return 0;
}

/* In the primary. */
static uint32_t choose(struct umbel *u, int fd, void *data)
{
	char head[HEAD_MOST];
	ssize_t len = recv(fd, head, sizeof(head) - 1, MSG_PEEK); /* the worker reads it again */
	int slot;

	if (len <= 0)
		return 0;
	head[len] = '\0';
	slot = slot_in_cookie(head);
	for (struct umbel_worker *w = umbel_next(u, 0); w && slot > 0; w = umbel_next(u, umbel_worker_id(w)))
		if (umbel_worker_slot(w) == slot && umbel_worker_state(w) == UMBEL_STATE_READY)
			return umbel_worker_id(w);
	return 0; /* the listener's own policy decides */
}

/* In a worker. A real one has an HTTP library here: hello_http.c. */
static void serve(struct umbel *u, int fd, void *data)
{
	static const struct timeval patience = {1, 0};
	char head[HEAD_MOST] = "", body[32];
	size_t len = 0;
	ssize_t n = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (n > 0 && len < sizeof(head) - 1 && !strstr(head, "\r\n\r\n")) {
		n = read(fd, head + len, sizeof(head) - 1 - len);
		len += n > 0 ? (size_t)n : 0;
		head[len] = '\0';
	}
	snprintf(body, sizeof(body), "hello from worker %d\n", umbel_slot(u));
	dprintf(fd, "HTTP/1.1 200 OK\r\nSet-Cookie: slot=%d; Path=/; HttpOnly; SameSite=Lax\r\n"
		    "Content-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
		umbel_slot(u), strlen(body), body);
	umbel_done(u, fd);
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	char address[64];
	int err = umbel_open(argc, argv, &u);

	signal(SIGPIPE, SIG_IGN);
	snprintf(address, sizeof(address), "tcp://:%s", argc > 1 ? argv[1] : "8000");
	if (!err && !umbel_is_primary(u))
		err = umbel_listen(u, address, serve, NULL);
	else if (!err && !(err = umbel_choose(u, NULL, choose, NULL)))
		err = umbel_scale(u, argc > 2 ? atoi(argv[2]) : umbel_parallelism());
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "choose: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
