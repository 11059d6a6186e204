#include "net/holder.h"

#include "net/connections.h"
#include "net/diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Either family, IPv4 in the first four bytes. */
struct place {
	int family; /* AF_UNSPEC: whatever is there */
	uint8_t host[16];
	bool is_any;
};

struct search {
	struct place wanted;
	struct inodes found;
	uid_t uid;
};

static bool is_zero(const uint8_t *bytes, size_t size)
{
	while (size > 0 && bytes[size - 1] == 0)
		size--;
	return size == 0;
}

static bool are_in_the_way(const struct place *a, const struct place *b)
{
	if (a->is_any || b->is_any)
		return true;
	return a->family == b->family && memcmp(a->host, b->host, sizeof(a->host)) == 0;
}

static int on_row(const struct inet_diag_msg *row, const struct nlmsghdr *message, void *data)
{
	size_t size = row->idiag_family == AF_INET ? 4 : 16;
	struct place its = {.family = row->idiag_family};
	struct search *s = data;

	memcpy(its.host, row->id.idiag_src, size);
	its.is_any = is_zero(its.host, size);
	if (!are_in_the_way(&s->wanted, &its))
		return 0;
	s->uid = row->idiag_uid;
	return inodes_add(&s->found, row->idiag_inode);
}

static struct place place_of(const struct address *a)
{
	struct place p = {.family = a->family};
	char host[ADDRESS_HOST_MAX];

	snprintf(host, sizeof(host), "%.*s", (int)strcspn(a->host, "%"), a->host);
	if (inet_pton(AF_INET, host, p.host) == 1)
		p.family = AF_INET;
	else if (inet_pton(AF_INET6, host, p.host) == 1)
		p.family = AF_INET6;
	p.is_any = is_zero(p.host, sizeof(p.host));
	return p;
}

static pid_t first_other(const struct inodes *sockets)
{
	pid_t pid = inodes_next_holder(sockets, 0);

	return pid == getpid() ? inodes_next_holder(sockets, pid) : pid;
}

/* Whatever bytes it chose. */
static void name_of(pid_t pid, char *out, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, out, size - 1);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	for (char *p = out; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	if (fd >= 0)
		close(fd);
}

int holder_find(struct diag *d, const struct address *a, struct holder *ret)
{
	struct search s = {.wanted = place_of(a)};
	struct holder found = {.pid = 0};
	int err;

	if (!d || a->kind != ADDRESS_TCP || a->port == 0)
		return -ENOENT;
	err = diag_listeners(d, a->port, on_row, &s);
	if (!err && s.found.count == 0)
		err = -ENOENT;
	if (!err) {
		found.pid = first_other(&s.found);
		found.uid = s.uid;
		if (found.pid)
			name_of(found.pid, found.name, sizeof(found.name));
		*ret = found;
	}
	inodes_finish(&s.found);
	return err;
}
