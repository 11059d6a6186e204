/* A server that does one thing at a time, and in one slot takes longer: sleeps, answers with its pid, closes.
 *
 *     uneven PORT MS SLOT SLOT_MS     MS for each connection, in SLOT SLOT_MS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <umbel.h>
#include <unistd.h>

static useconds_t pause_us;

static void serve(struct umbel *u, int fd, void *data)
{
	char request[4096], body[32], text[256];
	int len;

	if (recv(fd, request, sizeof(request), 0) > 0) {
		usleep(pause_us);
		len = snprintf(body, sizeof(body), "%d\n", (int)getpid());
		len = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n"
						   "Connection: close\r\n\r\n%s", len, body);
		send(fd, text, (size_t)len, MSG_NOSIGNAL);
	}
	umbel_done(u, fd);
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	char address[64];
	int err;

	if (argc < 5) {
		fprintf(stderr, "usage: uneven PORT MS SLOT SLOT_MS\n");
		return 2;
	}
	err = umbel_open(argc, argv, &u);
	if (!err && umbel_is_primary(u)) {
		fprintf(stderr, "uneven: to be started by umbel run\n");
		umbel_close(u);
		return 2;
	}
	if (!err) {
		snprintf(address, sizeof(address), "tcp://:%s", argv[1]);
		pause_us = (useconds_t)atoi(argv[umbel_slot(u) == atoi(argv[3]) ? 4 : 2]) * 1000;
		err = umbel_listen(u, address, serve, NULL);
	}
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "uneven: %s\n", umbel_reason(u));
	umbel_close(u);
	return err != 0;
}
