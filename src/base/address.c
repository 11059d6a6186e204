/* address: parsing and printing. */
#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* Digits only: strtol() would let signs and spaces in. -1: no port. */
static int parse_port(const char *text)
{
	size_t len = strspn(text, "0123456789");
	int port = 0;

	if (len == 0 || len > 5 || text[len])
		return -1;
	for (; *text; text++)
		port = port * 10 + (*text - '0');
	return port <= 65535 ? port : -1;
}

void address_set_interface(struct address *a, unsigned interface)
{
	char name[IF_NAMESIZE];

	if (!interface || strchr(a->host, '%') || !if_indextoname(interface, name))
		return;
	strcat(strcat(a->host, "%"), name);
}

bool address_is_multicast(const struct address *a)
{
	char host[ADDRESS_HOST_MAX];
	struct in6_addr six;
	struct in_addr four;

	snprintf(host, sizeof(host), "%.*s", (int)strcspn(a->host, "%"), a->host);
	if (inet_pton(AF_INET, host, &four) == 1)
		return IN_MULTICAST(ntohl(four.s_addr));
	return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_MULTICAST(&six);
}

/* A host is kept in its one canonical spelling, so that equal addresses have equal texts. */
static int parse_host(const char *text, size_t len, struct address *ret)
{
	unsigned char binary[sizeof(struct in6_addr)];
	char host[ADDRESS_HOST_MAX], *scope;

	ret->family = AF_UNSPEC;
	if (len == 0)
		return 0;
	ret->family = AF_INET;
	if (text[0] == '[' && text[len - 1] == ']') {
		ret->family = AF_INET6;
		text++;
		len -= 2;
	}
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = 0;
	scope = strchr(host, '%');
	if (scope)
		*scope++ = '\0';
	if (inet_pton(ret->family, host, binary) != 1 || (scope && (!*scope || strlen(scope) >= IF_NAMESIZE)))
		return -EINVAL;
	inet_ntop(ret->family, binary, ret->host, sizeof(ret->host));
	if (scope)
		strcat(strcat(ret->host, "%"), scope);
	return 0;
}

static int parse_inet(const char *text, enum address_kind kind, struct address *ret, const char **why)
{
	const char *colon = strrchr(text, ':');

	ret->kind = kind;
	if (!colon || (*text == '[' && colon < strrchr(text, ']'))) {
		*why = kind == ADDRESS_UDP ? "the port is missing: udp://HOST:PORT"
					   : "the port is missing: tcp://HOST:PORT";
		return -EINVAL;
	}
	ret->port = parse_port(colon + 1);
	if (ret->port < 0) {
		*why = "the port must be a number from 0 (any free one) to 65535";
		return -EINVAL;
	}
	if (parse_host(text, (size_t)(colon - text), ret) < 0) {
		*why = "the host must be numeric (127.0.0.1 or [::1]), or nothing for any";
		return -EINVAL;
	}
	return 0;
}

static int parse_unix(const char *text, struct address *ret, const char **why)
{
	size_t len = strlen(text);

	ret->kind = ADDRESS_UNIX;
	ret->family = AF_UNIX;
	if (text[0] == '@' && len > 1 && len <= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		memcpy(ret->path, text, len + 1);
		return 0;
	}
	if (text[0] != '/') {
		*why = "the path must be absolute, unix:///run/app.sock, or an abstract name of 1 to 107 "
		       "bytes, unix://@app";
		return -EINVAL;
	}
	if (text[len - 1] == '/') {
		*why = "the path must name a socket, not a directory";
		return -EINVAL;
	}
	if (len >= sizeof(ret->path)) {
		*why = "the path must be shorter than 4096 bytes";
		return -EINVAL;
	}
	memcpy(ret->path, text, len + 1);
	return 0;
}

static int parse_plain(const char *text, struct address *ret, const char **why)
{
	if (strncmp(text, "tcp://", 6) == 0)
		return parse_inet(text + 6, ADDRESS_TCP, ret, why);
	if (strncmp(text, "udp://", 6) == 0)
		return parse_inet(text + 6, ADDRESS_UDP, ret, why);
	if (strncmp(text, "unix://", 7) == 0)
		return parse_unix(text + 7, ret, why);
	*why = "an address begins with tcp://, udp:// or unix://";
	return -EINVAL;
}

int address_parse(const char *text, struct address *ret, const char **why)
{
	char plain[ADDRESS_TEXT_MAX];
	size_t len = strcspn(text, "?");
	struct address a = {0};
	int err;

	if (len >= sizeof(plain)) {
		*why = "it is longer than any address";
		return -EINVAL;
	}
	memcpy(plain, text, len);
	plain[len] = '\0';
	err = parse_plain(plain, &a, why);
	if (!err && text[len])
		err = address_parse_options(text + len + 1, &a, why);
	if (!err)
		*ret = a;
	return err;
}

char *address_format(const struct address *a, char *out, size_t size)
{
	const char *scheme = a->kind == ADDRESS_UDP ? "udp" : "tcp";

	if (a->kind == ADDRESS_UNIX)
		snprintf(out, size, "unix://%s", a->path);
	else if (a->family == AF_INET6)
		snprintf(out, size, "%s://[%s]:%d", scheme, a->host, a->port);
	else
		snprintf(out, size, "%s://%s:%d", scheme, a->host, a->port);
	return out;
}

/* The kernel need not end sun_path with a NUL; an abstract name begins with one, and libuv's may be followed by
 * more. Unnamed sockets have no path, and a relative one means nothing to another process. */
static int from_unix(const struct sockaddr_storage *from, socklen_t len, struct address *ret)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)from;
	size_t room = len < sizeof(*un) ? len : sizeof(*un);
	size_t offset = offsetof(struct sockaddr_un, sun_path);

	size_t len_of_path = room > offset ? room - offset : 0;

	ret->kind = ADDRESS_UNIX;
	if (len_of_path > 1 && un->sun_path[0] == '\0' && un->sun_path[1]) {
		ret->path[0] = '@';
		memcpy(ret->path + 1, un->sun_path + 1, strnlen(un->sun_path + 1, len_of_path - 1));
		return 0;
	}
	if (len_of_path == 0 || un->sun_path[0] != '/')
		return -EAFNOSUPPORT;
	memcpy(ret->path, un->sun_path, strnlen(un->sun_path, len_of_path));
	return 0;
}

int address_from_socket(const struct sockaddr_storage *from, socklen_t len, struct address *ret)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)from;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
	struct address a = {0};

	if (len < sizeof(from->ss_family))
		return -EAFNOSUPPORT;
	a.kind = ADDRESS_TCP;
	a.family = from->ss_family;
	if (a.family == AF_INET && len >= sizeof(*in)) {
		inet_ntop(AF_INET, &in->sin_addr, a.host, sizeof(a.host));
		a.port = ntohs(in->sin_port);
	} else if (a.family == AF_INET6 && len >= sizeof(*in6)) {
		inet_ntop(AF_INET6, &in6->sin6_addr, a.host, sizeof(a.host));
		a.port = ntohs(in6->sin6_port);
		if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
			address_set_interface(&a, in6->sin6_scope_id);
	} else if (a.family != AF_UNIX || from_unix(from, len, &a) < 0) {
		return -EAFNOSUPPORT;
	}
	*ret = a;
	return 0;
}
