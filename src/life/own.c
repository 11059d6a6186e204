#include "life/own.h"

#include "base/fd.h"
#include "base/proc.h"
#include "life/crew.h"
#include "life/ready.h"
#include "life/worker.h"
#include "net/connections.h"
#include "program/admission.h"
#include "program/named.h"
#include "program/settings.h"
#include "share/busy.h"
#include "share/leftover.h"
#include "share/policy.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what it is ---- */

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, level, name, &value, &size) < 0 ? -1 : value;
}

static bool is_bound(int fd)
{
	struct address a;

	return socket_address(fd, &a) == 0 && a.port > 0;
}

bool own_is_there(const struct own *own)
{
	struct address a;

	return socket_address(own->fd, &a) == 0 && a.port == own->address.port && strcmp(a.host, own->address.host) == 0;
}

/* In another network namespace, where it stands alone. Before Linux 5.14 nobody can tell. */
static bool is_elsewhere(int fd)
{
	uint64_t its, ours;
	socklen_t size = sizeof(its);
	int probe;
	bool differs;

	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &its, &size) < 0)
		return false;
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return false;
	differs = getsockopt(probe, SOL_SOCKET, SO_NETNS_COOKIE, &ours, &size) == 0 && its != ours;
	close(probe);
	return differs;
}

/* It may be bound to what is no address of this machine; the rights for the second way are the program's. */
static bool is_free(int fd)
{
	return option(fd, IPPROTO_IP, IP_FREEBIND) == 1 || option(fd, IPPROTO_IP, IP_TRANSPARENT) == 1;
}

static int look_at_copy(struct own *own, struct trap_socket *ret)
{
	int protocol = option(own->fd, SOL_SOCKET, SO_PROTOCOL);

	*ret = (struct trap_socket){option(own->fd, SOL_SOCKET, SO_DOMAIN), option(own->fd, SOL_SOCKET, SO_TYPE),
				    protocol == IPPROTO_MPTCP};
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP && protocol != IPPROTO_UDP)
		return -ENOTSUP;
	if (is_elsewhere(own->fd))
		return -ENOTSUP;
	socket_add_interface(own->fd, &own->address);
	if (is_bound(own->fd))
		return -EINVAL; /* the kernel's to say */
	own->ipv6_only = option(own->fd, IPPROTO_IPV6, IPV6_V6ONLY) == 1;
	own->is_free = is_free(own->fd);
	own->reuses_port = option(own->fd, SOL_SOCKET, SO_REUSEPORT) == 1;
	return 0;
}

/* Its kind can be had by name where it cannot be copied. */
static int look_at_socket(struct own *own, struct trap_socket *ret)
{
	own->fd = proc_copy_fd(own->caller.thread, own->caller.process, own->at);
	if (own->fd >= 0)
		return look_at_copy(own, ret);
	if (own->fd != -EPERM)
		return own->fd;
	return trap_socket_by_name(own->caller.thread, own->at, ret);
}

int own_look(struct umbel_worker *w, const struct trap_call *call, struct own *ret)
{
	struct trap_socket socket;
	int err;

	*ret = (struct own){.worker = w, .fd = -1, .at = call->fd};
	err = trap_caller(call->thread, &ret->caller);
	err = err ? err : trap_read_address(call, &ret->name, &ret->name_length);
	if (!err)
		err = address_from_socket(&ret->name, ret->name_length, &ret->address);
	if (!err && ret->address.port == 0)
		err = -ENOTSUP; /* this first: programs look whether there is IPv6 so, and mostly it is that */
	err = err ? err : look_at_socket(ret, &socket);
	if (err)
		return err;
	if (socket.family != ret->name.ss_family || (socket.type != SOCK_STREAM && socket.type != SOCK_DGRAM))
		return -ENOTSUP;
	ret->is_mptcp = socket.is_mptcp;
	ret->address.kind = socket.type == SOCK_DGRAM ? ADDRESS_UDP : ADDRESS_TCP;
	return admission_is_shared(w->crew->settings, &ret->address) ? 0 : -ENOTSUP;
}

void own_finish(struct own *own)
{
	if (own->fd >= 0)
		fd_close(&own->fd);
}

int own_may_bind(const struct own *own)
{
	const struct umbel_settings *s = own->worker->crew->settings;
	struct address named;

	if (own->caller.may_bind_low || own->address.port >= socket_first_unprivileged_port())
		return 0;
	return named_find(s->listen, &own->address, &named) ? 0 : -EACCES;
}

/* ---- its address ---- */

static void tell_one_socket(struct crew *crew, enum umbel_policy app)
{
	if (app == UMBEL_SHARED || sharing_wanted(&crew->sharing) <= UMBEL_STEERED_SLOTS_MAX ||
	    crew->told_one_socket)
		return;
	crew->told_one_socket = true;
	events_add_note(crew->events, 0, "policy", "programs that accept by themselves have policy shared, not %s: the "
			"kernel can steer to %d workers at most. A reload may cut connections then",
			policy_name(policy_is_handed(app) ? UMBEL_SPREAD : app), UMBEL_STEERED_SLOTS_MAX);
}

enum umbel_policy own_policy(struct crew *crew, enum share_form form)
{
	enum umbel_policy app = settings_policy(crew->settings);

	if (form == SHARE_LENT) {
		tell_one_socket(crew, app);
		return UMBEL_SHARED;
	}
	if (!policy_is_handed(app))
		return app;
	if (crew->settings->policy != UMBEL_AUTO && !crew->told_policy)
		events_add_note(crew->events, 0, "policy", "programs that accept by themselves have spread, not %s: nothing "
				"can be handed over to them (sticky, spread and shared are possible)", policy_name(app));
	crew->told_policy |= crew->settings->policy != UMBEL_AUTO;
	return UMBEL_SPREAD;
}

static uid_t owner_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? (uid_t)-1 : st.st_uid;
}

/* All sockets of a group have one owner, who called socket(2) (K7). What is that user's is not made ours, or it could
 * join other groups of ours: ours is made that user's. */
void own_give(struct share *s, uid_t uid)
{
	if (s->form != SHARE_GROUP || uid == geteuid())
		return;
	s->wish.has_owner = fchown(s->listener.fd, uid, (gid_t)-1) == 0;
	s->wish.owner = uid;
}

static int open_share(struct own *own, struct share **ret)
{
	struct crew *crew = own->worker->crew;
	struct socket_wish wish = {.address = own->address, .fd = -1, .ipv6_only = own->ipv6_only,
				   .is_free = own->is_free, .is_bound_only = own->address.kind == ADDRESS_TCP};
	char text[ADDRESS_TEXT_MAX], *key;
	struct address named;
	enum share_form form;
	int err;

	if (named_find(crew->settings->listen, &wish.address, &named))
		named_merge(&wish.address.options, &named.options);
	form = sharing_form(&crew->sharing, &wish.address, false, false);
	if (asprintf(&key, "%s%s", address_format(&own->address, text, sizeof(text)), own->ipv6_only ? " only" : "") < 0)
		return -ENOMEM;
	err = sharing_add(&crew->sharing, key, &wish, form, own_policy(crew, form), NULL, ret);
	if (err) {
		free(key);
		return err;
	}
	(*ret)->accept_alone = true;
	if (own->fd >= 0)
		own_give(*ret, owner_of(own->fd));
	return 0;
}

int own_find_or_open(struct own *own, struct share **ret)
{
	struct crew *crew = own->worker->crew;
	struct share *s = sharing_find_address(&crew->sharing, &own->address, own->ipv6_only);
	int err;

	if (s) {
		*ret = s;
		return 0;
	}
	err = open_share(own, ret);
	if (err != -EADDRINUSE || own->fd >= 0 || own->address.family != AF_INET6)
		return err;
	/* What cannot be asked is tried: beside 0.0.0.0 it is for IPv6 only. */
	own->ipv6_only = true;
	*ret = s = sharing_find_address(&crew->sharing, &own->address, true);
	return s ? 0 : open_share(own, ret);
}

void own_forget(struct share *s)
{
	if (s->wish.is_bound_only && s->seat_count == 0 && TAILQ_EMPTY(&s->sides.list))
		share_close(s);
}

int own_look_at_older(const struct own *own, struct share *s)
{
	struct side *side, *next;
	struct inodes open = {0};
	int err = sides_find(s, &own->worker->receiver) ? leftover_open_sockets(&own->worker->receiver, &open) : 0;

	for (side = TAILQ_FIRST(&s->sides.list); side && !err; side = next) {
		next = TAILQ_NEXT(side, link);
		if (!side->is_program || side->owner != own->worker->receiver.id)
			continue;
		if (!inodes_have(&open, side->listener.fd))
			sides_give_back(side);
		else if (!own->reuses_port)
			err = -EADDRINUSE;
	}
	inodes_finish(&open);
	return err;
}

/* ---- its place ---- */

/* What its process knows by that number is another socket from now on. */
static int put_in_place(struct own *own, int fd, int notify, const struct trap_call *call)
{
	struct trap_fd look = {.cloexec = true};
	int err = trap_look_at_fd(own->caller.thread, own->at, &look);

	if (!err && (look.is_watched || look.copies > 1))
		err = -EADDRINUSE; /* it would wait for what never comes (K61) */
	if (err)
		return err;
	fd_set_nonblocking(fd, look.nonblocking);
	return trap_replace(notify, call->id, fd, own->at, look.cloexec);
}

bool own_is_alone(const struct umbel_worker *w, pid_t process, int fd)
{
	struct inodes open = {0};
	bool is_alone;

	if (process == w->receiver.pid && !proc_has_children(process))
		return true;
	is_alone = inodes_of_tree(w->receiver.pid, &open) == 0 && !inodes_of_another(&open, fd, process);
	inodes_finish(&open);
	return is_alone;
}

/* Of udp there is no listen(2) to wait for. */
static int serve_at_once(struct own *own, struct share *s)
{
	int err = own_seat(own->worker, s);

	if (!err)
		own_serves(own->worker, s);
	return err;
}

static int make_side(struct own *own, struct share *s, int *fd, struct side **ret)
{
	bool nonblocking = fd_is_nonblocking(*fd);
	int err = sides_adopt(s, &own->worker->receiver, *fd, ret);

	if (!err) /* the loop has changed it, and it is the program's too */
		fd_set_nonblocking(fd_steal(fd), nonblocking);
	return err;
}

static int adopt(struct own *own, struct share *s, int *fd)
{
	struct side *side;
	int err = make_side(own, s, fd, &side);

	if (err || s->listener.address.kind != ADDRESS_UDP)
		return err;
	err = sides_listen(side);
	return err ? err : serve_at_once(own, s);
}

static const char *why_another(const struct own *own)
{
	if (own->fd < 0)
		return "sockets of programs are replaced by ones of ours: they cannot be copied (pidfd_getfd is forbidden "
		       "here)";
	return own->is_mptcp ? "MPTCP sockets of programs are replaced by TCP: the kernel does not steer them" : NULL;
}

static int adopt_another(struct own *own, struct share *s, int notify, const struct trap_call *call)
{
	int fd = socket_open_bound(&s->wish, &s->listener.address), err;

	if (fd < 0)
		return fd;
	if (own->fd >= 0)
		socket_copy_options(own->fd, fd);
	err = put_in_place(own, fd, notify, call);
	err = err ? err : adopt(own, s, &fd);
	fd_close(&fd);
	own->replaced = why_another(own);
	return err;
}

int own_adopt(struct own *own, struct share *s, int notify, const struct trap_call *call)
{
	bool udp = s->listener.address.kind == ADDRESS_UDP;
	struct side *left = udp ? sides_find_left(s, own->worker->receiver.slot) : NULL;
	int err;

	if (left && (own->fd < 0 || own_is_alone(own->worker, own->caller.process, own->fd)) &&
	    put_in_place(own, left->listener.fd, notify, call) == 0) {
		sides_give(left, &own->worker->receiver);
		return serve_at_once(own, s);
	}
	if (own->fd < 0 || own->is_mptcp || owner_of(own->fd) != owner_of(s->listener.fd))
		return adopt_another(own, s, notify, call);
	err = socket_bind_own(own->fd, &s->wish, (struct sockaddr *)&own->name, own->name_length);
	return err ? err : adopt(own, s, &own->fd);
}

/* As bind(2) left it here: bound, with SO_REUSEPORT. */
static int look_again(struct own *own)
{
	socklen_t len = sizeof(own->name);

	if (option(own->fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP || is_elsewhere(own->fd) ||
	    option(own->fd, SOL_SOCKET, SO_REUSEPORT) != 1 || option(own->fd, SOL_SOCKET, SO_ACCEPTCONN) != 0)
		return -ENOTSUP;
	if (getsockname(own->fd, (struct sockaddr *)&own->name, &len) < 0)
		return -errno;
	own->name_length = len;
	own->ipv6_only = option(own->fd, IPPROTO_IPV6, IPV6_V6ONLY) == 1;
	own->is_free = is_free(own->fd);
	return socket_address(own->fd, &own->address);
}

int own_take_again(struct umbel_worker *w, int notify, const struct trap_call *call, struct side **ret)
{
	struct own own = {.worker = w, .at = call->fd};
	struct share *s = NULL;
	int err = trap_caller(call->thread, &own.caller);

	own.fd = err ? err : proc_copy_fd(own.caller.thread, own.caller.process, own.at);
	err = own.fd < 0 ? own.fd : look_again(&own);
	if (!err && !trap_is_valid(notify, call->id))
		err = -ENOENT; /* what was read may be another's */
	if (!err && !admission_is_shared(w->crew->settings, &own.address))
		err = -ENOTSUP;
	err = err ? err : own_find_or_open(&own, &s);
	if (!err && (s->form != SHARE_GROUP || owner_of(own.fd) != owner_of(s->listener.fd)))
		err = -ENOTSUP;
	err = err ? err : make_side(&own, s, &own.fd, ret);
	if (err && s)
		own_forget(s);
	own_finish(&own);
	return err;
}

int own_lend(struct own *own, struct share *s, int notify, const struct trap_call *call)
{
	int err = put_in_place(own, s->listener.fd, notify, call);

	return err || s->listener.address.kind != ADDRESS_UDP ? err : serve_at_once(own, s);
}

int own_seat(struct umbel_worker *w, struct share *s)
{
	int err;

	if (policy_is_handed(s->policy)) /* it was another program's, which took what is handed over */
		s->policy = own_policy(w->crew, s->form);
	s->accept_alone = s->was_own = true;
	err = share_seat_of(s, &w->receiver) < 0 ? share_add(s, &w->receiver) : 0;
	if (err)
		return err;
	s->seats[share_seat_of(s, &w->receiver)].accepts = true;
	if (s->waiting) /* in the door, where nobody will take it any more: it sees an end */
		share_dispatch(s);
	return 0;
}

void own_serves(struct umbel_worker *w, struct share *s)
{
	if (!s->seats[share_seat_of(s, &w->receiver)].told)
		sharing_tell_listening(s, &w->receiver);
	ready_listens(w);
}

void own_tell_beside(const struct own *own)
{
	struct crew *crew = own->worker->crew;
	char its[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];
	struct address named;

	if (crew->told_beside || !admission_is_beside(crew->settings, &own->address, &named))
		return;
	crew->told_beside = true;
	worker_note(own->worker, "share", "pid %d binds %s by itself, and that is not shared: no --listen names it (there "
		    "is %s)", (int)own->caller.process, address_format(&own->address, its, sizeof(its)),
		    address_format(&named, other, sizeof(other)));
}

void own_tell_result(struct umbel_worker *w, pid_t process, const char *what, const struct address *a, int error)
{
	char address[ADDRESS_TEXT_MAX] = "an address that cannot be read";

	if (a)
		address_format(a, address, sizeof(address));
	if (!error)
		told_works(&w->told, what, address);
	else if (error != -ENOENT && /* the call is gone */
		 !w->receiver.asked && told_fails(&w->told, what, address, error))
		worker_note(w, "share", "pid %d cannot %s %s: %s%s", (int)process, what, address, strerror(-error),
			    a ? busy_text(&w->crew->sharing.busy, w->crew->sharing.diag, a, error) : "");
}
