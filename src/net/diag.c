#include "net/diag.h"

#include "net/tally.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	BUFFER = 32768,      /* the kernel never puts more into one answer of a dump */
	ADDRESSES = 1 << 17, /* different clients that are told apart */
};

struct diag {
	struct mnl_socket *socket; /* NULL after an error: what was still to come would be taken for an answer */
	unsigned sequence;
	char buffer[BUFFER] __attribute__((aligned(NLMSG_ALIGNTO)));
};

/* ---- netlink ---- */

static int open_socket(struct mnl_socket **ret)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int err;

	if (!s)
		return -errno;
	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		mnl_socket_close(s);
		return err;
	}
	*ret = s;
	return 0;
}

static void close_socket(struct diag *d)
{
	if (d->socket)
		mnl_socket_close(d->socket);
	d->socket = NULL;
}

int diag_open(struct diag **ret)
{
	struct diag *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	err = open_socket(&d->socket);
	if (err) {
		free(d);
		return err;
	}
	*ret = d;
	return 0;
}

void diag_close(struct diag *d)
{
	if (!d)
		return;
	close_socket(d);
	free(d);
}

/* The end of a dump says how it went; libmnl 1.0.4 does not look. */
static int on_done(const struct nlmsghdr *header, void *data)
{
	int result = 0;

	if (mnl_nlmsg_get_payload_len(header) >= sizeof(result))
		memcpy(&result, mnl_nlmsg_get_payload(header), sizeof(result));
	if (result >= 0)
		return MNL_CB_STOP;
	errno = -result;
	return MNL_CB_ERROR;
}

static int on_error(const struct nlmsghdr *header, void *data)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(header);

	errno = mnl_nlmsg_get_payload_len(header) < sizeof(*e) || !e->error ? EPROTO : abs(e->error);
	return MNL_CB_ERROR;
}

/* Sends the request and gives each message of the answer to on_message. The socket never blocks: the kernel
 * answers within send and recv, so EAGAIN would be its mistake. -EINTR: the kernel said that things changed
 * while it listed them. After an error the socket is no more. */
static int ask(struct diag *d, struct nlmsghdr *request, mnl_cb_t on_message, void *data)
{
	mnl_cb_t control[NLMSG_MIN_TYPE] = {[NLMSG_ERROR] = on_error, [NLMSG_DONE] = on_done};
	int result, err = d->socket ? 0 : open_socket(&d->socket);
	ssize_t n;

	if (err)
		return err;
	request->nlmsg_seq = ++d->sequence;
	if (mnl_socket_sendto(d->socket, request, request->nlmsg_len) < 0)
		goto failed;
	do {
		n = mnl_socket_recvfrom(d->socket, d->buffer, BUFFER);
		if (n < 0)
			goto failed;
		result = mnl_cb_run2(d->buffer, (size_t)n, d->sequence, mnl_socket_get_portid(d->socket),
				     on_message, data, control, NLMSG_MIN_TYPE);
		if (result < 0)
			goto failed;
	} while (result > MNL_CB_STOP);
	return 0;

failed:
	err = errno ? -errno : -EIO;
	close_socket(d);
	return err;
}

/* ---- dumps of tcp sockets by port ---- */

struct dump {
	int port;
	uint32_t states;  /* 1 << TCP_... */
	uint8_t wants;    /* 1 << (INET_DIAG_... - 1) */
	diag_row_handler *on_row;
	void *data;
};

enum { CONNECTED = 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT };

/* What the kernel was asked for is looked at once more: which conditions it knows is a matter of its age. */
static int on_message(const struct nlmsghdr *header, void *data)
{
	const struct dump *p = data;
	const struct inet_diag_msg *row = mnl_nlmsg_get_payload(header);
	int err;

	if (header->nlmsg_type != TCPDIAG_GETSOCK || mnl_nlmsg_get_payload_len(header) < sizeof(*row))
		return MNL_CB_OK;
	if (row->idiag_state >= 32 || !(p->states & (1u << row->idiag_state)) ||
	    ntohs(row->id.idiag_sport) != p->port)
		return MNL_CB_OK;
	err = p->on_row(row, header, p->data);
	if (!err)
		return MNL_CB_OK;
	errno = -err;
	return MNL_CB_ERROR;
}

/* Most of the time goes into the kernel's walk through all TCP sockets, whatever is asked for. Hence the older
 * kind of request, which ss(8) uses too: it has both families in one walk, the newer has one in each. */
static int dump_port(struct diag *d, struct dump *p)
{
	union {
		struct nlmsghdr header;
		char bytes[MNL_ALIGN(sizeof(struct nlmsghdr)) + MNL_ALIGN(sizeof(struct inet_diag_req))];
	} u = {.bytes = {0}};
	struct nlmsghdr *header = mnl_nlmsg_put_header(u.bytes);
	struct inet_diag_req *request = mnl_nlmsg_put_extra_header(header, sizeof(*request));

	if (p->port < 1 || p->port > 65535)
		return -EINVAL;
	header->nlmsg_type = TCPDIAG_GETSOCK;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request->idiag_family = AF_UNSPEC;
	request->idiag_ext = p->wants;
	request->idiag_states = p->states;
	request->id.idiag_sport = htons((uint16_t)p->port);
	request->id.idiag_cookie[0] = request->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	return ask(d, header, on_message, p);
}

/* A dual-stack socket's IPv4 clients are of family AF_INET6, mapped. */
static void client_of(const struct inet_diag_msg *row, uint8_t ret[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (row->idiag_family == AF_INET6) {
		memcpy(ret, row->id.idiag_dst, 16);
	} else {
		memcpy(ret, mapped, sizeof(mapped));
		memcpy(ret + sizeof(mapped), row->id.idiag_dst, 4);
	}
}

/* ---- half-open ---- */

struct half_open {
	struct diag_peer *peers;
	unsigned most;
	int count;
};

static int on_half_open(const struct inet_diag_msg *row, const struct nlmsghdr *message, void *data)
{
	struct half_open *h = data;

	if ((unsigned)h->count < h->most) {
		client_of(row, h->peers[h->count].address);
		h->peers[h->count].port = ntohs(row->id.idiag_dport);
	}
	h->count++;
	return 0;
}

int diag_half_open(struct diag *d, int port, struct diag_peer *ret, unsigned most)
{
	struct half_open h = {.peers = ret, .most = most};
	struct dump p = {.port = port, .states = 1 << TCP_SYN_RECV, .on_row = on_half_open, .data = &h};
	int err = dump_port(d, &p);

	if (err == -EINTR) {
		h.count = 0;
		err = dump_port(d, &p);
	}
	return err ? err : h.count;
}

/* ---- clients ---- */

struct clients {
	unsigned connections;
	struct tally *by_address; /* NULL: not wanted */
};

static int on_client(const struct inet_diag_msg *row, const struct nlmsghdr *message, void *data)
{
	struct clients *c = data;
	uint8_t address[16];

	c->connections++;
	if (!c->by_address)
		return 0;
	client_of(row, address);
	return tally_add(c->by_address, address);
}

static void format(const uint8_t address[16], char *out, size_t size)
{
	struct in6_addr v6;

	memcpy(&v6, address, sizeof(v6));
	if (IN6_IS_ADDR_V4MAPPED(&v6))
		inet_ntop(AF_INET, address + 12, out, (socklen_t)size);
	else
		inet_ntop(AF_INET6, &v6, out, (socklen_t)size);
}

static int count_clients(struct diag *d, int port, struct tally *by_address, struct diag_clients *ret)
{
	struct clients c = {.by_address = by_address};
	struct dump p = {.port = port, .states = CONNECTED, .on_row = on_client, .data = &c};
	int err = dump_port(d, &p);

	if (err)
		return err;
	*ret = (struct diag_clients){.connections = c.connections};
	if (by_address && c.connections) {
		ret->busiest = by_address->busiest.times;
		format(by_address->busiest.address, ret->address, sizeof(ret->address));
	}
	return 0;
}

int diag_clients(struct diag *d, int port, bool find_busiest, struct diag_clients *ret)
{
	int err = -EINTR;

	for (int attempt = 0; err == -EINTR && attempt < 2; attempt++) {
		struct tally t;

		tally_init(&t, ADDRESSES);
		err = count_clients(d, port, find_busiest ? &t : NULL, ret);
		tally_finish(&t);
	}
	return err;
}

int diag_connections(struct diag *d, int port, diag_row_handler *on_row, void *data)
{
	return dump_port(d, &(struct dump){port, CONNECTED, 1 << (INET_DIAG_INFO - 1), on_row, data});
}

int diag_listeners(struct diag *d, int port, diag_row_handler *on_row, void *data)
{
	return dump_port(d, &(struct dump){port, 1 << TCP_LISTEN, 0, on_row, data});
}

static int get_option(int fd, int option)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -errno : value;
}

/* ---- who listens at one address ---- */

struct members {
	int port, family, interface, v6only;
	uint8_t address[16]; /* of IPv4 the first four bytes */
	uint32_t *inodes;
	unsigned most;
	int count;
};

/* What makes two listening sockets members of one group (K9): all of it. */
static int describe(int fd, struct members *ret)
{
	struct sockaddr_storage name = {0};
	socklen_t size = sizeof(name), v6only_size = sizeof(ret->v6only);

	if (getsockname(fd, (struct sockaddr *)&name, &size) < 0)
		return -errno;
	ret->family = name.ss_family;
	ret->interface = get_option(fd, SO_BINDTOIFINDEX);
	if (name.ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)&name;

		ret->port = ntohs(v4->sin_port);
		memcpy(ret->address, &v4->sin_addr, 4);
	} else if (name.ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&name;

		ret->port = ntohs(v6->sin6_port);
		memcpy(ret->address, &v6->sin6_addr, 16);
		if (getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &ret->v6only, &v6only_size) < 0)
			return -errno;
	} else {
		return -EAFNOSUPPORT;
	}
	return ret->interface < 0 ? ret->interface : 0;
}

static bool is_v6only(const struct nlmsghdr *header)
{
	const struct nlattr *attribute;

	mnl_attr_for_each(attribute, header, sizeof(struct inet_diag_msg))
		if (mnl_attr_get_type(attribute) == INET_DIAG_SKV6ONLY && mnl_attr_get_payload_len(attribute) >= 1)
			return mnl_attr_get_u8(attribute);
	return false;
}

static int on_member(const struct inet_diag_msg *row, const struct nlmsghdr *message, void *data)
{
	struct members *m = data;
	size_t size = m->family == AF_INET ? 4 : 16;

	if (row->idiag_family != m->family || (int)row->id.idiag_if != m->interface ||
	    memcmp(row->id.idiag_src, m->address, size) != 0)
		return 0;
	if (m->family == AF_INET6 && is_v6only(message) != (m->v6only != 0))
		return 0;
	if ((unsigned)m->count < m->most)
		m->inodes[m->count] = row->idiag_inode;
	m->count++;
	return 0;
}

int diag_members(struct diag *d, int fd, uint32_t *ret, unsigned most)
{
	struct members m = {.inodes = ret, .most = most};
	int err = describe(fd, &m);

	err = err ? err : diag_listeners(d, m.port, on_member, &m);
	if (err == -EINTR) {
		m.count = 0;
		err = diag_listeners(d, m.port, on_member, &m);
	}
	return err ? err : m.count;
}

/* ---- one socket's queue ---- */

static int tcp_queue(int fd, struct diag_queue *ret)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
		return -errno;
	if (info.tcpi_state == TCP_LISTEN)
		*ret = (struct diag_queue){.waiting = info.tcpi_unacked, .backlog = info.tcpi_sacked};
	else if (info.tcpi_state == TCP_CLOSE)
		*ret = (struct diag_queue){.is_shut = true};
	else
		return -EINVAL;
	return 0;
}

static int udp_queue(int fd, struct diag_queue *ret)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t size = sizeof(memory);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) < 0)
		return -errno;
	*ret = (struct diag_queue){.waiting = memory[SK_MEMINFO_RMEM_ALLOC], .backlog = memory[SK_MEMINFO_RCVBUF]};
	return 0;
}

struct unix_answer {
	bool is_there;
	struct diag_queue queue;
};

static int on_unix(const struct nlmsghdr *header, void *data)
{
	struct unix_answer *a = data;
	const struct nlattr *attribute;

	if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(struct unix_diag_msg))
		return MNL_CB_OK;
	mnl_attr_for_each(attribute, header, sizeof(struct unix_diag_msg)) {
		const struct unix_diag_rqlen *queue = mnl_attr_get_payload(attribute);
		unsigned size = mnl_attr_get_payload_len(attribute);

		if (mnl_attr_get_type(attribute) == UNIX_DIAG_RQLEN && size >= sizeof(*queue)) {
			a->queue.waiting = queue->udiag_rqueue;
			a->queue.backlog = queue->udiag_wqueue;
			a->is_there = true;
		} else if (mnl_attr_get_type(attribute) == UNIX_DIAG_SHUTDOWN && size >= 1) {
			a->queue.is_shut = mnl_attr_get_u8(attribute) & 1; /* RCV_SHUTDOWN */
		}
	}
	return MNL_CB_STOP; /* one socket, one message */
}

/* No getsockopt or ioctl tells it (SIOCINQ is EINVAL while it listens), only netlink: about 20 us, most of
 * them for a socket that lives no longer than the question. */
static int unix_queue(int fd, struct diag_queue *ret)
{
	union {
		struct nlmsghdr header;
		char bytes[MNL_ALIGN(sizeof(struct nlmsghdr)) + MNL_ALIGN(sizeof(struct unix_diag_req))];
	} u = {.bytes = {0}};
	struct nlmsghdr *header = mnl_nlmsg_put_header(u.bytes);
	struct unix_diag_req *request = mnl_nlmsg_put_extra_header(header, sizeof(*request));
	struct unix_answer answer = {0};
	struct diag *d;
	struct stat st;
	int err = get_option(fd, SO_ACCEPTCONN);

	if (err <= 0)
		return err ? err : -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	err = diag_open(&d);
	if (err)
		return err;
	header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	header->nlmsg_flags = NLM_F_REQUEST;
	request->sdiag_family = AF_UNIX;
	request->udiag_states = ~0u;
	request->udiag_ino = (uint32_t)st.st_ino;
	request->udiag_show = UDIAG_SHOW_RQLEN;
	request->udiag_cookie[0] = request->udiag_cookie[1] = INET_DIAG_NOCOOKIE;
	err = ask(d, header, on_unix, &answer);
	diag_close(d);
	if (!err && !answer.is_there)
		err = -EIO;
	if (!err)
		*ret = answer.queue;
	return err;
}

int diag_queue(int fd, struct diag_queue *ret)
{
	int family = get_option(fd, SO_DOMAIN), type = get_option(fd, SO_TYPE), protocol;

	if (family < 0)
		return family;
	if (family == AF_UNIX)
		return unix_queue(fd, ret);
	protocol = get_option(fd, SO_PROTOCOL);
	if (type == SOCK_STREAM && protocol == IPPROTO_TCP)
		return tcp_queue(fd, ret);
	if (type == SOCK_DGRAM && protocol == IPPROTO_UDP)
		return udp_queue(fd, ret);
	return -EOPNOTSUPP;
}
