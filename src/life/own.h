/* own: a socket that a program opened itself and binds: what it is, whether its address is the app's, and how it
 * becomes one of the sockets of that address. For intercept.c. */
#ifndef UMBEL_LIFE_OWN_H
#define UMBEL_LIFE_OWN_H

#include "net/trap.h"
#include "share/share.h"

#include <sys/socket.h>

struct crew;

struct own {
	struct umbel_worker *worker;
	int fd;              /* a copy of it; -1: we may not have one, and another takes its place */
	int at;              /* its number in the process */
	struct trap_caller caller;
	struct sockaddr_storage name; /* that is to be bound */
	socklen_t name_length;
	struct address address; /* the same */
	bool is_mptcp;
	bool ipv6_only;      /* without fd: not known, false */
	bool is_free;        /* IP_FREEBIND, or as good */
	bool reuses_port;    /* the program says so */
	const char *replaced; /* a sentence: it was replaced by another one, because; NULL: it was not */
};

/* 0: its bind(2) is ours to answer. Else it is to be left alone: -ENOTSUP: its address or kind is not shared; -EPERM: we
 * cannot see it; another -errno. To be finished in any case. */
int own_look(struct umbel_worker *w, const struct trap_call *call, struct own *ret);
void own_finish(struct own *own);

bool own_is_there(const struct own *own); /* with fd: it is bound to that very address already */
int own_may_bind(const struct own *own); /* 0; -EACCES: it could not do that itself, and the operator does not say so */
int own_find_or_open(struct own *own, struct share **ret); /* 0 or -errno as bind(2) */

/* The worker's own there from before, which it has closed, are given back: what waits there is its new socket's. 0;
 * -EADDRINUSE: it still has one, which is in the way as in the kernel, unless both say SO_REUSEPORT; or -errno. */
int own_look_at_older(const struct own *own, struct share *s);

/* No other process of the worker has that socket (of which fd is a copy): a child that was forked since it was made
 * would go on with it whatever takes its place here. Cheap where the worker has no children. */
bool own_is_alone(const struct umbel_worker *w, pid_t process, int fd);

/* It, or one in its place, becomes a side of its slot; of udp it serves from then on. The call still waits. 0 or
 * -errno. */
int own_adopt(struct own *own, struct share *s, int notify, const struct trap_call *call);

/* listen(2) of one that was a side until all of its address had shut theirs down, and nobody had it any more: it is one
 * again. 0; or -errno: it is not. */
int own_take_again(struct umbel_worker *w, int notify, const struct trap_call *call, struct side **ret);
int own_lend(struct own *own, struct share *s, int notify, const struct trap_call *call); /* the share's only one */
void own_give(struct share *s, uid_t uid); /* it was just opened: all its sockets are to be that user's */
void own_forget(struct share *s); /* it was opened for nothing */

enum umbel_policy own_policy(struct crew *crew, enum share_form form); /* of programs that accept by themselves */
int own_seat(struct umbel_worker *w, struct share *s); /* it accepts there. 0 or -ENOMEM */
void own_serves(struct umbel_worker *w, struct share *s); /* it listens: told once, and perhaps it is ready */
void own_tell_beside(const struct own *own); /* -ENOTSUP: that it is not shared, if another host was named; once */

/* Of "bind", "listen on": 0 or -errno. The same failure is said once. Address NULL: it could not be read. */
void own_tell_result(struct umbel_worker *w, pid_t process, const char *what, const struct address *a, int error);

#endif
