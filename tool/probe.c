/* probe: the verb that no help lists. Asks a server once whether it is well; `umbel run --ready-url` runs it. Comes
 * from the socket in $UMBEL_PROBE_FD, where the primary has given one: that reaches one worker and no other. */
#include "base/fd.h"
#include "tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	ANSWER_MS = 5000, /* for all of it */
	REST_MS = 500,    /* for what follows the status line */
	HOST_MOST = 256,
	PATH_MOST = 2048,
	URL_SHOWN = 200,
};

struct url {
	char host[HOST_MOST]; /* without brackets */
	char authority[HOST_MOST + 16]; /* as it stands there: for the server */
	char port[8];
	char path[PATH_MOST];
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static int fail(const char *url, const char *why)
{
	fprintf(stderr, "umbel: probe %s: %s\n", url, why);
	return EXIT_FAILED;
}

/* ---- the url ---- */

/* HOST, HOST:PORT, [V6], [V6]:PORT */
static bool parse_authority(const char *text, size_t length, struct url *ret)
{
	const char *end = text[0] == '[' ? memchr(text, ']', length) : memchr(text, ':', length);
	bool brackets = text[0] == '[';
	const char *host = text + brackets, *port;
	size_t host_length = end ? (size_t)(end - host) : length;
	uint64_t number = 80;

	if (length == 0 || length >= sizeof(ret->authority) || host_length == 0 || host_length >= sizeof(ret->host) ||
	    (brackets && !end) || memchr(text, '@', length))
		return false;
	memcpy(ret->host, host, host_length);
	memcpy(ret->authority, text, length);
	port = ret->authority + (host - text) + host_length + brackets;
	if (*port && (*port != ':' || parse_number(port + 1, 65535, &number) < 0 || number == 0))
		return false;
	snprintf(ret->port, sizeof(ret->port), "%u", (unsigned)number);
	return true;
}

/* NULL, or what is wrong with it. */
static const char *parse_url(const char *text, struct url *ret)
{
	static const char http[] = "http://", https[] = "https://";
	static const char no_url[] = "it must be a url such as http://127.0.0.1:8000/health";
	const char *authority = text + sizeof(http) - 1;
	size_t length, rest;

	memset(ret, 0, sizeof(*ret));
	if (strncasecmp(text, https, sizeof(https) - 1) == 0)
		return "https is not spoken here: name an address that answers http, or use --ready-cmd with curl";
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p == 127)
			return "a url has no blanks or control characters";
	if (strncasecmp(text, http, sizeof(http) - 1) != 0)
		return no_url;
	length = strcspn(authority, "/?#");
	rest = strcspn(authority + length, "#");
	if (!parse_authority(authority, length, ret) || rest + 2 > sizeof(ret->path))
		return no_url;
	snprintf(ret->path, sizeof(ret->path), "%s%.*s", authority[length] == '/' ? "" : "/", (int)rest,
		 authority + length);
	return NULL;
}

static int complain_of(const char *what, const char *text, const char *why)
{
	size_t length = 0; /* of what can be shown in one line */

	while (length < URL_SHOWN && (unsigned char)text[length] > ' ' && text[length] != 127)
		length++;
	return complain("%s %.*s: %s", what, (int)length, text, why);
}

int probe_check_url(const char *what, const char *text)
{
	struct url url;
	const char *why = parse_url(text, &url);

	return why ? complain_of(what, text, why) : 0;
}

/* ---- the connection ---- */

/* -1: there is none. */
static int given_socket(int *ret_family)
{
	const char *text = getenv("UMBEL_PROBE_FD");
	struct sockaddr_storage name;
	socklen_t length = sizeof(name);
	uint64_t fd;

	if (!text || parse_number(text, 1 << 20, &fd) < 0 ||
	    getsockname((int)fd, (struct sockaddr *)&name, &length) < 0)
		return -1;
	*ret_family = name.ss_family;
	return (int)fd;
}

/* As far as time is left. */
static bool wait_for(int fd, short events, int64_t until)
{
	struct pollfd p = {.fd = fd, .events = events};
	int64_t left = until - now_ms();

	return left > 0 && poll(&p, 1, (int)left) == 1;
}

static int connect_by(int fd, const struct addrinfo *to, int64_t until)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	if (!wait_for(fd, POLLOUT, until))
		return -ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return -error;
}

/* A descriptor, or -1 with a reason. */
static int reach(const struct url *url, int64_t until, const char **why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *to;
	int given = given_socket(&hints.ai_family), fd = -1, err;

	err = getaddrinfo(url->host, url->port, &hints, &list);
	if (err) {
		*why = given >= 0 && err != EAI_AGAIN ? "it has no address of the family that its listener has: name "
							"127.0.0.1, [::1] or localhost" : gai_strerror(err);
		return -1;
	}
	err = -EADDRNOTAVAIL;
	for (to = list; to && err; to = given >= 0 ? NULL : to->ai_next) {
		fd = given >= 0 ? given : socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		err = fd < 0 ? -errno : fd_set_nonblocking(fd, true);
		err = err ? err : connect_by(fd, to, until);
		if (err)
			fd_close(&fd);
	}
	freeaddrinfo(list);
	*why = strerror(-err);
	return fd;
}

/* ---- the question ---- */

static bool ask(int fd, const struct url *url, int64_t until)
{
	char text[PATH_MOST + HOST_MOST + 256];
	size_t sent = 0, length = (size_t)snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\n"
						   "User-Agent: umbel-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n",
						   url->path, url->authority);

	while (sent < length) {
		ssize_t n = send(fd, text + sent, length - sent, MSG_NOSIGNAL);

		if (n < 0 && (errno != EAGAIN || !wait_for(fd, POLLOUT, until)))
			return false;
		sent += n < 0 ? 0 : (size_t)n;
	}
	return true;
}

/* The status of "HTTP/1.1 200 OK"; 0: it is none. */
static int read_status(int fd, int64_t until)
{
	char line[64] = "";
	size_t length = 0;
	int status;

	while (length < sizeof(line) - 1 && !strchr(line, '\n') && wait_for(fd, POLLIN, until)) {
		ssize_t n = recv(fd, line + length, sizeof(line) - 1 - length, 0);

		if (n <= 0)
			break;
		length += (size_t)n;
	}
	return sscanf(line, "HTTP/1.%*1[01] %3d", &status) == 1 ? status : 0;
}

/* A close with something unread would be a reset, and a line in the server's log. */
static void read_the_rest(int fd)
{
	int64_t until = now_ms() + REST_MS;
	char bytes[4096];

	shutdown(fd, SHUT_WR);
	while (wait_for(fd, POLLIN, until) && recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
}

static int probe_verb(int argc, char **argv)
{
	int64_t until = now_ms() + ANSWER_MS;
	const char *why;
	char status_text[48];
	struct url url;
	int fd, status = 0;

	if (argc != 2)
		return complain("probe: it takes one url");
	why = parse_url(argv[1], &url);
	if (why)
		return complain_of("probe", argv[1], why);
	fd = reach(&url, until, &why);
	if (fd < 0)
		return fail(argv[1], why);
	if (ask(fd, &url, until))
		status = read_status(fd, until);
	if (status)
		read_the_rest(fd);
	close(fd);
	if (status >= 200 && status < 400)
		return EXIT_DONE;
	snprintf(status_text, sizeof(status_text), "it answers with status %d", status);
	return fail(argv[1], status ? status_text : now_ms() >= until ? "no answer in time" : "no answer of HTTP");
}

const struct verb verb_probe = {"probe", probe_verb, "probe URL", NULL};
