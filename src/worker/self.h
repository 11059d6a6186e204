/* self: this process as a worker: its end of the channel and of the lane, the addresses it serves,
 * how it leaves. One epoll set holds everything. Knows nothing of the primary but the wire. */
#ifndef UMBEL_WORKER_SELF_H
#define UMBEL_WORKER_SELF_H

#include "base/events.h"
#include "base/reason.h"
#include "umbel.h"

#include <stdbool.h>

struct self;

/* Whether the environment says that this process is a worker. */
bool self_is_worker(void);

/* -EPROTO: told to be one, but the channel is broken or speaks another serialization. `u` is what
 * umbel_serve is called with. */
int self_open(struct umbel *u, struct events *events, struct reason *reason, struct self **ret);
void self_close(struct self *s);

int self_fd(const struct self *s);
int self_turn(struct self *s, bool wait); /* 0 or -errno */
bool self_is_over(const struct self *s);
void self_settle(struct self *s);          /* ends a turn: sends what handlers queued, leaves if drained */
void self_touch(struct self *s);           /* after a call from outside a turn: the same, and a wake-up */
int self_watch_signals(struct self *s, int signalfd); /* -1 ends it */
int self_wake(struct self *s);             /* UMBEL_WOKEN; any thread, any signal handler */

int self_stop(struct self *s);
/* The channel ended and nobody handles it, or the primary asked: take nothing new, finish, leave. */
void self_drain(struct self *s);

int self_listen(struct self *s, const char *address, umbel_serve *f, void *data);
int self_listen_socket(struct self *s, const char *address, umbel_serve *f, void *data);
int self_unlisten(struct self *s, const char *address);
void self_done(struct self *s, int fd); /* any thread */
int self_send(struct self *s, const char *json, size_t len, int fd);

int self_ready(struct self *s); /* as umbel_ready() */

int self_slot(const struct self *s);
uint32_t self_id(const struct self *s);

#endif
