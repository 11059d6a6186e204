/* answer: one minimal HTTP answer on a blocking connection. What both C sides of the benchmark do with
 * a connection, so that only their primaries differ. Not a server: it reads one piece and no more. */
#ifndef BENCH_ANSWER_H
#define BENCH_ANSWER_H

#include <sys/socket.h>

static inline void answer(int fd)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nok\n";
	char request[4096];

	if (recv(fd, request, sizeof(request), 0) <= 0 || send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL) < 0)
		return; /* the client gave up */
}

#endif
