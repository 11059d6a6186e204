/* address: the text form of what can be listened on, "tcp://[::1]:8000", "udp://127.0.0.1:53",
 * "tcp://0.0.0.0%eth0:80" (at that interface alone: SO_BINDTODEVICE) or "unix:///path", with options behind a "?" ("tcp://:8000?backlog=511&ipv6_only"), and back.
 * Pure: resolves no names and opens nothing. */
#ifndef UMBEL_BASE_ADDRESS_H
#define UMBEL_BASE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum address_kind { ADDRESS_TCP, ADDRESS_UNIX, ADDRESS_UDP };

#define ADDRESS_HOST_MAX 64   /* INET6_ADDRSTRLEN, and % and an interface (IF_NAMESIZE) */
#define ADDRESS_PATH_MAX 4096 /* PATH_MAX; longer than sun_path is for the binder to solve */
#define ADDRESS_TEXT_MAX (ADDRESS_PATH_MAX + 16)

#define ADDRESS_OWNER_MAX 128
#define ADDRESS_OPTIONS_MAX 256 /* their text */

/* Zero is: not said. What each means: umbel_listen(). */
struct address_options {
	int backlog;      /* tcp, unix: 1..65535 */
	bool ipv6_only;   /* tcp, udp */
	int defer_accept; /* tcp: seconds, 1..60 */
	int fast_open;    /* tcp: 1..65535 */
	int mode;         /* unix: 0001..0777 */
	bool shared;      /* UMBEL_SHARED, whatever the app's policy */
	char owner[ADDRESS_OWNER_MAX]; /* unix: "USER" or "USER:GROUP", names or numbers, not looked up */
};

struct address {
	enum address_kind kind;
	int family;                  /* AF_INET, AF_INET6, AF_UNIX; AF_UNSPEC: any host, both families */
	int port;                    /* tcp, udp: 0..65535 */
	char host[ADDRESS_HOST_MAX]; /* tcp, udp: numeric, perhaps with an interface (fe80::1%eth0); "" for any */
	char path[ADDRESS_PATH_MAX]; /* unix: absolute, or "@NAME", which is in no file system (unix(7)) */
	struct address_options options;
};

static inline bool address_is_abstract(const struct address *a)
{
	return a->path[0] == '@';
}

/* "tcp://:8000", "tcp://127.0.0.1:8000", "tcp://[::1]:0", "udp://127.0.0.1:53", "unix:///run/a.sock",
 * "unix://@a"; the first "?" ends it, and its options follow. 0, or -EINVAL with a sentence in why (a
 * constant): what is wrong and what is allowed. */
int address_parse(const char *text, struct address *ret, const char **why);

/* What stands behind the "?", for an address that is known: its kind and family say what may stand there.
 * Sets ret->options alone. 0, or -EINVAL as above. */
int address_parse_options(const char *text, struct address *ret, const char **why);

/* The text of an address, without its options, into out (ADDRESS_TEXT_MAX bytes are always enough). Returns
 * out. */
char *address_format(const struct address *a, char *out, size_t size);

/* The text of its options, in one order, "" when there are none (ADDRESS_OPTIONS_MAX bytes are enough). */
char *address_format_options(const struct address_options *o, char *out, size_t size);

/* From a socket address as getsockname() gives it; of IP it is taken for tcp: set the kind if the socket
 * is udp. 0, or -EAFNOSUPPORT. (A link-local one has its interface, of which the kernel is asked the name.) */
int address_from_socket(const struct sockaddr_storage *from, socklen_t len, struct address *ret);

/* The interface of that number, 0: none, unless it has one or there is none of that number. */
void address_set_interface(struct address *a, unsigned interface);

bool address_is_multicast(const struct address *a); /* of either family */

#endif
