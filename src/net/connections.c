#include "net/connections.h"

#include "base/fd.h"
#include "base/proc.h"
#include "net/diag.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/bpf.h> /* the states of tcp: <netinet/tcp.h>, which has them too, and the next exclude each other */
#include <linux/inet_diag.h>
#include <linux/kcmp.h>
#include <linux/net.h> /* SS_CONNECTED */
#include <linux/tcp.h> /* glibc's struct tcp_info ends too soon (K76) */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- idle ---- */

enum {
	MOMENT_MS = 4,   /* a tick of the kernel or more, so that what was asked before is mostly answered */
	PAUSE_MS = 200,  /* in an answer that is still being written: a delayed acknowledgement, a slow query */
	DOUBT_MS = 3000, /* an answer may take so long when we cannot see that one is owed */
};

/* Something came from the client later than its data, and it was no data: it acknowledged what the program sent.
 * So the program spoke last, though both fell into one tick. (Its end is no data either.) */
static bool is_acknowledged(const struct connection *c)
{
	return !c->half_closed && c->heard_ms < c->received_ms;
}

static uint32_t quiet_ms_of(const struct connection *c)
{
	return c->sent_ms < c->received_ms ? c->sent_ms : c->received_ms;
}

/* An answer that has lasted for some time may pause for as long: a stream, which speaks long after it was asked. One that
 * was given at once tells nothing. */
static uint32_t pause_ms_of(const struct connection *c, bool is_late)
{
	uint32_t lasted_ms = c->sent_ms < c->received_ms && !is_late ? c->received_ms - c->sent_ms : 0;

	if (lasted_ms > DOUBT_MS)
		return DOUBT_MS;
	return lasted_ms < PAUSE_MS ? PAUSE_MS : lasted_ms;
}

bool connection_is_idle(const struct connection *c, bool is_late)
{
	uint64_t asked = c->half_closed && c->bytes_received ? c->bytes_received - 1 : c->bytes_received;
	uint32_t quiet_ms = quiet_ms_of(c);

	if (c->unread || c->unacked)
		return false;
	if (asked == 0)
		return quiet_ms >= PAUSE_MS;
	if (c->bytes_sent == 0 || c->received_ms < c->sent_ms)
		return false; /* an answer is owed */
	if (c->sent_ms < c->received_ms || is_acknowledged(c))
		return quiet_ms >= pause_ms_of(c, is_late);
	return quiet_ms >= DOUBT_MS;
}

bool connection_is_between(const struct connection *c, uint64_t received_before)
{
	return !c->unread && c->bytes_sent && received_before && c->bytes_received > received_before &&
	       c->sent_ms <= c->received_ms && quiet_ms_of(c) >= MOMENT_MS;
}

/* ---- inodes ---- */

static int add(struct inodes *i, const struct inode *one)
{
	if (i->count == i->room) {
		size_t room = i->room ? 2 * i->room : 64;
		struct inode *list = realloc(i->list, room * sizeof(*list));

		if (!list)
			return -ENOMEM;
		i->list = list;
		i->room = room;
	}
	i->list[i->count++] = *one;
	return 0;
}

static int compare_inodes(const void *a, const void *b)
{
	const struct inode *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static struct inode *find(const struct inodes *i, uint64_t number)
{
	struct inode key = {.number = number};

	return i->count ? bsearch(&key, i->list, i->count, sizeof(key), compare_inodes) : NULL;
}

void inodes_finish(struct inodes *i)
{
	free(i->list);
	*i = (struct inodes){0};
}

static int add_sockets_of_thread(pid_t thread, pid_t process, struct inodes *ret)
{
	struct inode one = {.thread = thread, .process = process};
	char path[64], target[64];
	unsigned long long number;
	DIR *dir;
	int err = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)thread);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno; /* it is dead */
	for (const struct dirent *e; !err && (e = readdir(dir));) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		if (sscanf(target, "socket:[%llu]", &number) != 1)
			continue;
		one.number = number;
		one.fd = atoi(e->d_name);
		err = add(ret, &one);
	}
	closedir(dir);
	return err;
}

/* The first thread has them all, but when it has ended, or another one has its own table (unshare(2)). Where nobody may
 * compare, only the former is looked for. */
static int add_sockets(pid_t pid, struct inodes *ret)
{
	size_t before = ret->count;
	pid_t last = pid, thread;
	char path[64];
	DIR *dir;
	int err = add_sockets_of_thread(pid, pid, ret);

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = err ? NULL : opendir(path);
	for (const struct dirent *e; !err && dir && (e = readdir(dir));) {
		long order;

		thread = (pid_t)strtol(e->d_name, NULL, 10);
		order = thread > 0 && thread != pid ? syscall(SYS_kcmp, last, thread, KCMP_FILES, 0, 0) : 0;
		if (order == 0 || (order < 0 && ret->count > before))
			continue;
		err = add_sockets_of_thread(thread, pid, ret);
		last = thread;
	}
	if (dir)
		closedir(dir);
	return err;
}

bool inodes_have(const struct inodes *i, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && find(i, st.st_ino);
}

bool inodes_of_another(const struct inodes *i, int fd, pid_t process)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	for (size_t n = 0; n < i->count; n++)
		if (i->list[n].number == st.st_ino && i->list[n].process != process)
			return true;
	return false;
}

int inodes_add(struct inodes *i, uint64_t inode)
{
	return add(i, &(struct inode){.number = inode, .fd = -1});
}

int inodes_add_fd(struct inodes *i, int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -errno : add(i, &(struct inode){.number = st.st_ino, .fd = fd});
}

int inodes_add_process(struct inodes *i, pid_t pid)
{
	return add_sockets(pid, i);
}

void inodes_sort(struct inodes *i)
{
	if (i->count)
		qsort(i->list, i->count, sizeof(*i->list), compare_inodes);
}

static bool have_common(const struct inodes *a, const struct inodes *b)
{
	for (size_t i = 0; i < a->count; i++)
		for (size_t j = 0; j < b->count; j++)
			if (a->list[i].number == b->list[j].number)
				return true;
	return false;
}

bool inodes_are_with(const struct inodes *i, pid_t pid)
{
	struct inodes its = {0};
	bool are = add_sockets(pid, &its) == 0 && have_common(i, &its);

	inodes_finish(&its);
	return are;
}

pid_t inodes_next_holder(const struct inodes *i, pid_t after)
{
	DIR *proc = opendir("/proc");
	pid_t found = 0;

	for (const struct dirent *e; proc && (e = readdir(proc));) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

		if (pid > after && (!found || pid < found) && inodes_are_with(i, pid))
			found = pid;
	}
	if (proc)
		closedir(proc);
	return found;
}

/* ---- the tree ---- */

struct process {
	pid_t pid, parent, group;
};

struct processes {
	struct process *list; /* by pid */
	size_t count, room;
};

static int compare_processes(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int add_process(struct processes *p, pid_t pid)
{
	struct process one = {.pid = pid};

	if (!proc_family(pid, &one.parent, &one.group))
		return 0;
	if (p->count == p->room) {
		size_t room = p->room ? 2 * p->room : 256;
		struct process *list = realloc(p->list, room * sizeof(*list));

		if (!list)
			return -ENOMEM;
		p->list = list;
		p->room = room;
	}
	p->list[p->count++] = one;
	return 0;
}

static int list_processes(struct processes *ret)
{
	DIR *dir = opendir("/proc");
	int err = 0;

	if (!dir)
		return -errno;
	for (const struct dirent *e; !err && (e = readdir(dir));) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

		if (pid > 0)
			err = add_process(ret, pid);
	}
	closedir(dir);
	if (ret->count)
		qsort(ret->list, ret->count, sizeof(*ret->list), compare_processes);
	return err;
}

/* Numbers may be given again while they are listed: then this could go round in circles. A process whose parent has
 * died is another's child, but mostly still of the group. */
static bool is_of(const struct processes *p, const struct process *one, pid_t root)
{
	for (size_t steps = 0; one && steps < p->count; steps++) {
		struct process parent = {.pid = one->parent};

		if (one->pid == root || one->parent == root || one->group == root)
			return true;
		one = bsearch(&parent, p->list, p->count, sizeof(parent), compare_processes);
	}
	return false;
}

int inodes_of_tree(pid_t root, struct inodes *ret)
{
	struct processes p = {0};
	struct inodes found = {0};
	int err = add_sockets(root, &found);

	if (!err)
		err = list_processes(&p);
	for (size_t i = 0; !err && i < p.count; i++)
		/* Of the others we may not look at each: a child may be somebody else's. */
		if (p.list[i].pid != root && is_of(&p, &p.list[i], root) &&
		    add_sockets(p.list[i].pid, &found) == -ENOMEM)
			err = -ENOMEM;
	free(p.list);
	if (err) {
		inodes_finish(&found);
		return err;
	}
	inodes_sort(&found);
	*ret = found;
	return 0;
}

/* ---- connections ---- */

struct look {
	struct inodes *of;
	bool is_late;
	struct connections seen;
};

/* False: the kernel does not say enough. */
static bool read_info(const struct nlmsghdr *message, struct connection *ret)
{
	const struct nlattr *attribute;
	struct tcp_info info;

	mnl_attr_for_each(attribute, message, sizeof(struct inet_diag_msg)) {
		if (mnl_attr_get_type(attribute) != INET_DIAG_INFO ||
		    mnl_attr_get_payload_len(attribute) < offsetof(struct tcp_info, tcpi_bytes_retrans))
			continue;
		memcpy(&info, mnl_attr_get_payload(attribute), offsetof(struct tcp_info, tcpi_bytes_retrans));
		ret->bytes_received = info.tcpi_bytes_received;
		ret->bytes_sent = info.tcpi_bytes_sent;
		ret->received_ms = info.tcpi_last_data_recv;
		ret->sent_ms = info.tcpi_last_data_sent;
		ret->heard_ms = info.tcpi_last_ack_recv;
		return true;
	}
	return false;
}

static int on_row(const struct inet_diag_msg *row, const struct nlmsghdr *message, void *data)
{
	struct look *l = data;
	struct connection c = {.unread = row->idiag_rqueue,
			       .unacked = row->idiag_wqueue,
			       .half_closed = row->idiag_state == BPF_TCP_CLOSE_WAIT};

	struct inode *found = find(l->of, row->idiag_inode);

	if (!found)
		return 0;
	found->is_idle = read_info(message, &c) && connection_is_idle(&c, l->is_late);
	found->is_between = connection_is_between(&c, found->received);
	found->received = c.bytes_received;
	l->seen.open++;
	l->seen.busy += !found->is_idle;
	return 0;
}

int connections_look(struct diag *d, int port, struct inodes *of, bool is_late, struct connections *ret)
{
	int err = -EINTR;

	for (int attempt = 0; err == -EINTR && attempt < 2; attempt++) {
		struct look l = {.of = of, .is_late = is_late};

		err = diag_connections(d, port, on_row, &l);
		if (!err)
			*ret = l.seen;
	}
	return err;
}

/* ---- of unix sockets ---- */

/* As the kernel shows it: a NUL is '@'. */
int connections_name(int listener, char ret[CONNECTIONS_NAME])
{
	struct sockaddr_un name = {0};
	socklen_t len = sizeof(name);
	size_t n;

	if (getsockname(listener, (struct sockaddr *)&name, &len) < 0)
		return -errno;
	if (name.sun_family != AF_UNIX || len <= offsetof(struct sockaddr_un, sun_path))
		return -EAFNOSUPPORT;
	n = len - offsetof(struct sockaddr_un, sun_path);
	if (name.sun_path[0])
		n = strnlen(name.sun_path, n < sizeof(name.sun_path) ? n : sizeof(name.sun_path));
	for (size_t i = 0; i < n; i++)
		ret[i] = name.sun_path[i] ? name.sun_path[i] : '@';
	ret[n] = '\0';
	return 0;
}

/* A line of the table: its inode, if it is a connection that was made through this name. The listener is none, and one that
 * nobody has accepted yet has inode 0. */
static uint64_t inode_of_line(const char *line, const char *name)
{
	unsigned long long inode;
	size_t n = strlen(name);
	unsigned state;
	int end = 0;

	if (sscanf(line, "%*s %*s %*s %*s %*s %x %llu%n", &state, &inode, &end) < 2 || state != SS_CONNECTED)
		return 0;
	return line[end] == ' ' && strncmp(line + end + 1, name, n) == 0 && line[end + 1 + n] == '\n' ? inode : 0;
}

int connections_look_unix(const char *name, struct inodes *of, struct connections *ret)
{
	struct connections seen = {0};
	FILE *table = fopen("/proc/net/unix", "re");
	size_t room = 0;
	char *line = NULL;

	if (!table)
		return -errno;
	while (getline(&line, &room, table) > 0) {
		uint64_t inode = inode_of_line(line, name);
		struct inode *found = inode ? find(of, inode) : NULL;

		if (!found)
			continue;
		found->is_unseen = true;
		seen.open++;
		seen.unseen++;
	}
	free(line);
	fclose(table);
	*ret = seen;
	return 0;
}

/* ---- ending ---- */

static bool end(const struct inode *one)
{
	struct pollfd p = {.fd = proc_copy_fd(one->thread, one->process, one->fd), .events = POLLIN | POLLRDHUP};
	struct stat st;
	/* Its number may have another socket by now, or the client have spoken, or it has had its end. */
	bool ended = p.fd >= 0 && fstat(p.fd, &st) == 0 && st.st_ino == one->number && poll(&p, 1, 0) == 0 &&
		     shutdown(p.fd, SHUT_RD) == 0;

	fd_close(&p.fd);
	return ended;
}

unsigned connections_end_idle(struct inodes *of, bool between)
{
	unsigned count = 0;

	for (size_t i = 0; i < of->count; i++) {
		struct inode *one = &of->list[i];

		if (one->is_idle || (between && one->is_between))
			count += end(one);
		one->is_idle = one->is_between = false;
	}
	return count;
}

unsigned connections_end_unseen(struct inodes *of)
{
	unsigned count = 0;

	for (size_t i = 0; i < of->count; i++) {
		if (of->list[i].is_unseen)
			count += end(&of->list[i]);
		of->list[i].is_unseen = false;
	}
	return count;
}
