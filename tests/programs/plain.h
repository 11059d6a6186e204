/* plain: what test programs share that serve by themselves, as if there were no umbel: a socket bound to an
 * address, and an answer over HTTP/1.0 with a pid of a width that does not change. */
#ifndef TESTS_PLAIN_H
#define TESTS_PLAIN_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void plain_fail(const char *what)
{
	perror(what);
	exit(1);
}

static inline void plain_set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		plain_fail("setsockopt");
}

/* To that interface alone. */
static inline void plain_tie(int fd, const char *interface)
{
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface)) < 0)
		plain_fail("SO_BINDTODEVICE");
}

/* Of 0.0.0.0 or any other address of either family. */
static inline socklen_t plain_address(const char *host, const char *port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (void *)ret;
	struct sockaddr_in6 *v6 = (void *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)atoi(port));
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
		plain_fail(host);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)atoi(port));
	return sizeof(*v6);
}

static inline int plain_socket(const char *host, int type, int protocol)
{
	int fd = socket(strchr(host, ':') ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		plain_fail("socket");
	if ((type & ~SOCK_NONBLOCK) == SOCK_STREAM)
		plain_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	return fd;
}

static inline void plain_bind(int fd, const char *host, const char *port)
{
	struct sockaddr_storage address;
	socklen_t length = plain_address(host, port, &address);

	if (bind(fd, (struct sockaddr *)&address, length) < 0)
		plain_fail("bind");
}

static inline void plain_listen(int fd)
{
	if (listen(fd, 128) < 0)
		plain_fail("listen");
}

static inline int plain_listener(const char *host, const char *port)
{
	int fd = plain_socket(host, SOCK_STREAM, 0);

	plain_bind(fd, host, port);
	plain_listen(fd);
	return fd;
}

/* The request's first line is left in request. */
static inline void plain_answer(int fd, char *request, size_t size, pid_t pid)
{
	size_t length = 0;
	char answer[128];
	ssize_t n;

	do {
		n = read(fd, request + length, size - 1 - length);
		length += n > 0 ? (size_t)n : 0;
		request[length] = '\0';
	} while (n > 0 && length < size - 1 && !strstr(request, "\r\n\r\n"));
	if (length > 0) {
		n = snprintf(answer, sizeof(answer),
			     "HTTP/1.0 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n%7d\n", (int)pid);
		send(fd, answer, (size_t)n, MSG_NOSIGNAL);
	}
	close(fd);
}

#endif
