/* answer: one minimal HTTP answer on a blocking connection. What both C sides of the benchmark do with
 * a connection, so that only their primaries differ. Not a server: it reads one piece and no more. */
#ifndef BENCH_ANSWER_H
#define BENCH_ANSWER_H

#include <unistd.h>

static inline void answer(int fd)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nok\n";
	char request[4096];

	if (read(fd, request, sizeof(request)) <= 0)
		return;
	if (write(fd, text, sizeof(text) - 1) < 0)
		return; /* the client gave up */
}

#endif
