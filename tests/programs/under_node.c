/* A worker for a Node primary.
 *
 *     under_node ADDRESS...      "+ADDRESS": umbel_listen_socket(), accepts by itself until it is to leave
 *
 * Each connection and each datagram is answered with the pid; a connection stays until its client ends
 * it. Each message comes back as it is, what came with it too, except:
 *     "stop", "crash"           umbel_stop(), exit(3)
 *     "tcp://...", "udp://..."  umbel_listen(), or umbel_unlisten() if that is served already
 *     {"give":"socket"}         comes back with a socket, whose other end is read until its end and
 *             "server", "udp"   sent as {"read":TEXT}; or with a listening socket; or with one of udp
 *     {"take":...}              what came with it is used here: a socket is told the pid, and closed; if it is
 *                               "hold", once the other side has closed it */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <umbel.h>
#include <unistd.h>

static struct umbel *u;

static void in_thread(void *(*f)(void *), int fd)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, f, (void *)(intptr_t)fd) != 0)
		abort();
	pthread_detach(thread);
}

static void *hold(void *data)
{
	int fd = (int)(intptr_t)data;
	char c;

	dprintf(fd, "%d\n", (int)getpid());
	while (read(fd, &c, 1) > 0)
		;
	umbel_done(u, fd);
	return NULL;
}

static void *answer_datagrams(void *data)
{
	int fd = (int)(intptr_t)data;
	struct pollfd p = {fd, POLLIN, 0};
	struct sockaddr_storage from;
	char text[16];

	while (poll(&p, 1, -1) > 0) {
		socklen_t len = sizeof(from);

		if (recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &len) < 0)
			continue; /* another worker was faster */
		snprintf(text, sizeof(text), "%d", (int)getpid());
		sendto(fd, text, strlen(text), 0, (struct sockaddr *)&from, len);
	}
	return NULL;
}

static void serve(struct umbel *umbel, int fd, void *data)
{
	in_thread(hold, fd);
}

static void serve_udp(struct umbel *umbel, int fd, void *data)
{
	in_thread(answer_datagrams, fd);
}

/* ---- messages ---- */

static void send_text(const char *text, int fd)
{
	if (umbel_send(u, NULL, text, strlen(text), fd) == 0)
		return;
	fprintf(stderr, "under_node: cannot send %s: %s\n", text, umbel_reason(u));
	if (fd >= 0)
		close(fd);
}

static int bound(int type)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		abort();
	return fd;
}

static int port_of(int fd)
{
	struct sockaddr_in name = {0};
	socklen_t len = sizeof(name);

	if (getsockname(fd, (struct sockaddr *)&name, &len) < 0)
		abort();
	return ntohs(name.sin_port);
}

static char heard[64];

/* What the other side says into the socket that it got. */
static void *hear(void *data)
{
	int fd = (int)(intptr_t)data;
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(heard) - 1 && (n = read(fd, heard + len, sizeof(heard) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	umbel_wake(u); /* umbel_send() is not for other threads */
	return NULL;
}

static void on_woken(struct umbel *umbel, const struct umbel_event *e, void *data)
{
	char json[96];

	snprintf(json, sizeof(json), "{\"read\":\"%s\"}", heard);
	send_text(json, -1);
}

static void give(const char *what)
{
	int ends[2], fd;
	char json[64];

	if (strcmp(what, "socket") == 0) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
			abort();
		send_text("{\"given\":\"socket\"}", ends[1]);
		in_thread(hear, ends[0]);
		return;
	}
	fd = bound(strcmp(what, "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM);
	if (strcmp(what, "udp") != 0)
		listen(fd, 8);
	snprintf(json, sizeof(json), "{\"given\":%d}", port_of(fd));
	send_text(json, fd);
}

static void *accept_all(void *data)
{
	int fd = (int)(intptr_t)data, client;

	for (;;) {
		struct pollfd p = {fd, POLLIN, 0};

		poll(&p, 1, -1);
		client = accept(fd, NULL, NULL);
		if (client < 0)
			continue;
		dprintf(client, "%d\n", (int)getpid());
		close(client);
	}
	return NULL;
}

static void *keep(void *data)
{
	int fd = (int)(intptr_t)data;
	struct pollfd p = {fd, POLLIN, 0}; /* it is non-blocking, as it was at Node */
	char c;

	while (poll(&p, 1, -1) > 0 && read(fd, &c, 1) > 0)
		;
	close(fd);
	return NULL;
}

static void take(const char *what, int fd)
{
	int type = 0, listens = 0;
	socklen_t len = sizeof(int);

	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
	if (type == SOCK_DGRAM) {
		in_thread(answer_datagrams, fd);
	} else if (listens) {
		in_thread(accept_all, fd);
	} else {
		dprintf(fd, "%d\n", (int)getpid());
		if (strcmp(what, "hold") == 0)
			in_thread(keep, fd);
		else
			close(fd);
	}
}

static int drain[2] = {-1, -1}; /* a pipe that ends when it is to leave */
static pthread_mutex_t own_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t own_over = PTHREAD_COND_INITIALIZER;
static int own_count; /* threads: one that accepts, and one for each connection */

static void count_own(int change)
{
	pthread_mutex_lock(&own_lock);
	own_count += change;
	pthread_cond_signal(&own_over);
	pthread_mutex_unlock(&own_lock);
}

/* Nobody else counts them. */
static void wait_for_own(void)
{
	pthread_mutex_lock(&own_lock);
	while (own_count > 0)
		pthread_cond_wait(&own_over, &own_lock);
	pthread_mutex_unlock(&own_lock);
}

static void *hold_own(void *data)
{
	keep(data);
	count_own(-1);
	return NULL;
}

static void *accept_own(void *data)
{
	int fd = (int)(intptr_t)data, client;
	struct pollfd p[] = {{fd, POLLIN, 0}, {drain[0], POLLIN, 0}};

	while (poll(p, 2, -1) > 0 && !p[1].revents) {
		client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (client < 0)
			continue;
		dprintf(client, "%d\n", (int)getpid());
		count_own(1);
		in_thread(hold_own, client);
	}
	close(fd);
	count_own(-1);
	return NULL;
}

static void serve_own(struct umbel *umbel, int fd, void *data)
{
	if (drain[0] < 0 && pipe2(drain, O_CLOEXEC) < 0)
		abort();
	count_own(1);
	in_thread(accept_own, fd);
}

static void on_drain(struct umbel *umbel, const struct umbel_event *e, void *data)
{
	if (drain[1] >= 0)
		close(drain[1]);
	drain[1] = -1;
}

static int listen_on(const char *address)
{
	if (address[0] == '+')
		return umbel_listen_socket(u, address + 1, serve_own, NULL);
	return umbel_listen(u, address, strncmp(address, "udp", 3) == 0 ? serve_udp : serve, NULL);
}

static void change(const char *address)
{
	int err = umbel_unlisten(u, address);

	if (err == -ENOENT)
		err = listen_on(address);
	if (err)
		fprintf(stderr, "under_node: %s\n", umbel_reason(u));
}

static void on_message(struct umbel *umbel, const struct umbel_event *e, void *data)
{
	char text[128];

	snprintf(text, sizeof(text), "%.*s", (int)e->message.len, e->message.json);
	text[strcspn(text, "}")] = '\0';
	text[strlen(text) - 1] = '\0'; /* the last quote */
	if (strcmp(text, "\"stop") == 0)
		umbel_stop(u);
	else if (strcmp(text, "\"crash") == 0)
		exit(3);
	else if (strstr(text, "://"))
		change(text + 1);
	else if (strncmp(text, "{\"give\":\"", 9) == 0)
		give(text + 9);
	else if (strncmp(text, "{\"take\":\"", 9) == 0)
		take(text + 9, umbel_take_fd(e));
	else if (umbel_send(u, NULL, e->message.json, e->message.len, umbel_take_fd(e)) < 0)
		fprintf(stderr, "under_node: cannot send: %s\n", umbel_reason(u));
}

int main(int argc, char **argv)
{
	int err = umbel_open(argc, argv, &u);

	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i < argc && !err; i++)
		err = listen_on(argv[i]);
	if (!err)
		err = umbel_on(u, UMBEL_MESSAGE, on_message, NULL);
	if (!err)
		err = umbel_on(u, UMBEL_WOKEN, on_woken, NULL);
	if (!err)
		err = umbel_on(u, UMBEL_DRAIN, on_drain, NULL);
	if (!err)
		err = umbel_run(u);
	if (!err)
		wait_for_own();
	if (err)
		fprintf(stderr, "under_node: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
