/* umbel.h - a program as N supervised workers that share its ports.
 *
 * One program, two roles; umbel_open() finds out which. The primary forks and watches and never
 * serves; a worker listens and serves. Started by `umbel run`, by umbel_fork() or by a Node primary
 * it is a worker, else the primary.
 *
 * Result    0 or a count, else a negative errno, with a sentence in umbel_reason(). A failed call
 *           changed nothing; an out parameter, last and called `ret`, is then untouched.
 *           In the wrong role: -EPERM.
 * Threads   one umbel, one thread; in a primary the main one, because a worker that has not spoken on its
 *           channel is killed when the thread that forked it ends (PR_SET_PDEATHSIG, prctl(2)).
 *           From any thread: umbel_done(), umbel_wake() (from signal handlers too); the last of them
 *           must have returned before umbel_close().
 * fork(2)   nothing works in a forked child that has not called exec.
 * Loop      umbel_run(), or poll umbel_fd() for reading in any loop and call umbel_dispatch(): both
 *           roles, timers included; no other fd, no timeout to compute, no callback elsewhere.
 * Handlers  run only inside umbel_dispatch()/umbel_run(), never inside the call that caused them.
 *           Every call is allowed in them; umbel_close() there takes effect when dispatch returns.
 * Lifetime  strings in are copied. What an event points to dies with its handler. A worker object
 *           lives until its UMBEL_GONE handler returns; to remember one longer keep its id.
 * fds       one passed in is taken on success only; an event's fd is closed unless umbel_take_fd().
 * Never     prints, exits, blocks, installs signal handlers, reaps a child it did not start.
 *           umbel_run() alone blocks TERM INT HUP and reads them by signalfd (stop, stop, reload; in
 *           a worker, or when a terminal hangs up: stop).
 *
 * The words (primary, worker, slot, channel, lane, drain) are those of docs/ARCHITECTURE.md; the
 * wire is Node's, docs/PROTOCOL.md.
 */
#ifndef UMBEL_H
#define UMBEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UMBEL_VERSION 0x000100 /* 0.1.0, one byte each; umbel_version() is what runs */

struct umbel;        /* a cluster seen from this process */
struct umbel_worker; /* primary only */

/* The words of `umbel status`. */
enum umbel_state {
	UMBEL_STATE_STARTING, /* forked, has not listened yet */
	UMBEL_STATE_HELD,     /* a spare that is about to listen, and is held there (settings.spares) */
	UMBEL_STATE_READY,    /* can serve: UMBEL_READY */
	UMBEL_STATE_DRAINING, /* leaving: takes nothing new, finishes what it has */
	UMBEL_STATE_STOPPING, /* drained, or out of time: a signal has been or is about to be sent */
	UMBEL_STATE_DEAD,     /* reaped */
};

/* Node's names first. P: in the primary, W: in a worker. */
enum umbel_event_type {
	UMBEL_FORK,       /* P  the process exists */
	UMBEL_ONLINE,     /* P  it speaks */
	UMBEL_LISTENING,  /* PW .listening; once for each address and worker */
	UMBEL_MESSAGE,    /* PW .message; what the other side sent with umbel_send() or process.send() */
	UMBEL_DISCONNECT, /* PW the channel is closed. A worker drains and leaves unless it has a handler */
	UMBEL_EXIT,       /* P  .exit; mostly after DISCONNECT, but the order is not promised (as in Node) */
	UMBEL_GONE,       /* P  last event of a worker: both of the above are over */
	UMBEL_READY,      /* P  it can serve: listens (or, see umbel_ready(), says so) */
	UMBEL_DRAIN,      /* W  asked to leave: take nothing new, finish; umbel_run() returns 0 when all
			   *    served connections are umbel_done() */
	UMBEL_WRITABLE,   /* PW after umbel_send() said -EAGAIN: there is room again */
	UMBEL_RELOADED,   /* P  .result of umbel_reload(): error 0: every slot has a worker of .generation. Else
			   *    it was undone, and why */
	UMBEL_EMPTY,      /* P  the last worker is gone, and none is on its way (Node: the callback of
			   *    cluster.disconnect()) */
	UMBEL_FAILED,     /* PW .result: an address could not be bound; a program could not be executed (then
			   *    GONE without EXIT); a worker broke the protocol; or (worker NULL) every
			   *    slot has failed: settings.max_failures workers in a row ended before they
			   *    were ready. Without a handler it ends umbel_run() with .result.error; what
			   *    fails at one worker does so only until a first one has been ready */
	UMBEL_WOKEN,      /* PW someone called umbel_wake(); calls in between are one event */
	UMBEL_EVENT_COUNT
};

struct umbel_event {
	enum umbel_event_type type;
	struct umbel_worker *worker; /* whom it is about; NULL in a worker */
	union {
		struct {
			const char *address; /* "tcp://[::]:8000", "unix:///run/a.sock" */
			int family;          /* AF_INET, AF_INET6, AF_UNIX */
			int port;            /* the real one, also after port 0; 0 for unix */
		} listening;
		struct {
			const char *json; /* any JSON value, as the text that came; not NUL-terminated */
			size_t len;       /* bytes */
			int fd;           /* -1: none. Yours only after umbel_take_fd() */
		} message;
		struct {
			int code, signal;  /* one is set, the other -1; both -1: somebody else reaped it */
			bool asked;        /* to leave: by umbel_disconnect(), umbel_stop(), umbel_scale(),
					    * a reload, or its own wish (Node's exitedAfterDisconnect) */
			bool core;         /* left a core file */
			bool out_of_memory; /* killed by the kernel, for the memory of its cgroup */
			bool late;         /* killed by us: not ready in settings.ready_ms */
			int64_t up_ms;     /* from fork to death, milliseconds */
			uint32_t in_service; /* connections that it had taken and not finished, which ended with
					      * it, as far as it has said (libumbel's) */
		} exit;
		struct {
			int error;       /* negative errno */
			const char *why; /* a sentence */
			uint32_t generation; /* of UMBEL_RELOADED */
		} result;
	};
};

typedef void umbel_handler(struct umbel *u, const struct umbel_event *e, void *data);

/* Called with each connection; owns fd (blocking, close-on-exec). End it with umbel_done(). A server
 * library with its own epoll set must take fd out of that set before umbel_done() closes it: while
 * the primary still has its copy, a close alone leaves it there (epoll(7), Q6). */
typedef void umbel_serve(struct umbel *u, int fd, void *data);

/* How a connection finds its worker. The kernel steers to sockets of the slots' own (a reuseport group,
 * socket(7)), or the primary accepts and hands over; all but UMBEL_SHARED can be switched while running.
 *
 *               tcp    unix   udp
 *   RR, LEAST   yes    yes    -       UDP is never handed over (as in Node)
 *   STICKY      yes    -      yes     the kernel cannot steer unix sockets
 *   SPREAD      yes    -      yes
 *   SHARED      yes    yes    yes
 *
 * A policy for the whole app goes to the listeners that can have it; the others have their default: RR,
 * UDP SPREAD. Steering needs at most 256 slots. */
enum umbel_policy {
	UMBEL_AUTO,   /* UMBEL_RR; UMBEL_SPREAD if our environment has NODE_CLUSTER_SCHED_POLICY=none */
	UMBEL_RR,     /* handed over in turn (Node's SCHED_RR); who can take nothing now is passed over */
	UMBEL_LEAST,  /* handed to whom it will wait for least: connections in hand times the time that one
		       * took; of Node workers without our preload the fewest unanswered, then the least CPU in
		       * the last second */
	UMBEL_STICKY, /* steered by the client's address (of IPv6 its /64): the same client, the same slot, while
		       * that slot serves; few clients move when slots come and go */
	UMBEL_SPREAD, /* steered at random, evenly; UDP by both addresses, so that a flow stays together */
	UMBEL_SHARED, /* one socket, every worker accepts, whoever wakes first. Nobody can steer then: a
		       * successor takes connections as soon as it listens, also in a canary's trial and
		       * before its soak is over, its predecessor until it has drained; and none are counted */
};
#define UMBEL_STEERED_SLOTS_MAX 256

enum umbel_restart { UMBEL_RESTART_ALWAYS, UMBEL_RESTART_ON_FAILURE, UMBEL_RESTART_NEVER };

#define UMBEL_STDIO_MAX 8
#define UMBEL_STDIO_INHERIT (-1) /* ours of the same number; for stdin /dev/null; from 3 on only if it is not
				  * close-on-exec, as libumbel's own are */
#define UMBEL_STDIO_PIPE (-2)    /* our end: umbel_worker_fd(). From 3 on both ways, a unix stream socket */
#define UMBEL_STDIO_CHANNEL (-3) /* the channel, at one place; mostly at 3 */
#define UMBEL_STDIO_NONE (-4)    /* nothing; for 0 to 2 /dev/null (Node's 'ignore') */

/* What workers are and how they are kept. Start from UMBEL_SETTINGS, change fields, give it to
 * umbel_setup(). Times are milliseconds. */
struct umbel_settings { /* by topic, not by size: NOLINT(clang-analyzer-optin.performance.Padding) */
	size_t size;           /* sizeof(struct umbel_settings): so that fields can be added */
	const char *exec;      /* program, searched in PATH when it has no slash. NULL: this program by its
				* path, so that a new worker runs what is on disk then */
	char *const *argv;     /* all of it, [0] too, NULL-terminated; NULL: the argv of umbel_open() */
	char *const *env;      /* "K=V" added for every worker, NULL-terminated; NULL: none */
	const char *cwd;       /* NULL: ours */
	int64_t uid, gid;      /* -1: ours. With uid set the supplementary groups are that user's; with gid
				* alone, set by root, there are none */
	int stdio[UMBEL_STDIO_MAX]; /* its descriptors 0, 1, ...: UMBEL_STDIO_*, or one of ours (not taken) */

	enum umbel_policy policy;  /* of listeners that are opened from now on */
	uint32_t max_connections;  /* of the whole app, open at a time; the kernel queues the others. With RR
				    * and LEAST only; those of Node workers to unix sockets are not
				    * counted. 0: no limit */
	char *const *listen;       /* addresses, NULL-terminated, that you name: a listener of the same address
				    * has the options that stand there (umbel_listen()), and workers of another
				    * user (uid) may have it even if it is a port below 1024 or a unix path;
				    * NULL: none */
	const int *pass_fds;   /* sockets of ours, ended by -1, that Node workers may name in listen({fd}) and
				* bind({fd}), by their numbers here; NULL: none. Not taken: keep them open */

	/* Who follows when a worker ends. */
	bool respawn;          /* refill a slot when its worker ends, with its fork's env, unless you asked
				* that worker to leave. umbel_scale() turns it on, umbel_fork() does not */
	enum umbel_restart restart; /* of kept slots: ALWAYS; ON_FAILURE: not after exit status 0; NEVER */
	const int *stop_codes; /* exit statuses after which nobody follows, ended by -1; NULL: none */
	uint32_t min_up_ms;    /* a worker that ends by its own doing within this time of being ready has
				* crashed. After the second crash in a row the next start waits: 100 ms,
				* doubled up to 30 s, spread by a fifth */
	uint32_t max_failures; /* so many ends in a row before being ready, and the slot has failed: nobody
				* follows until umbel_reload() or umbel_scale(). 0: no limit */
	bool queue_when_empty; /* nobody is there and nobody will come: listeners stay, and connections wait
				* for umbel_reload() or umbel_scale(); else they are closed, and when every
				* slot has failed UMBEL_FAILED says so */
	uint32_t ready_ms;     /* a kept worker that is not ready by then is killed, which counts as a crash;
				* 0: no limit */
	bool wait_ready;       /* only umbel_ready(), READY=1 to $NOTIFY_SOCKET (sd_notify(3)), or the message
				* "ready" of a Node worker (as PM2's wait_ready) makes it ready; listening or age do not */

	/* How it leaves: drain, the stop signal once it has parted, SIGKILL at the end of the grace. */
	uint32_t grace_ms;     /* from asking a worker to leave to SIGKILL; 0: at once */
	int stop_signal;       /* SIGTERM */
	bool signal_first;     /* the signal instead of draining: for a program that drains by itself */
	const char *stop_message; /* with signal_first: this JSON value instead of the signal (PM2's
				* "shutdown"); NULL: the signal */
	bool node_preload;     /* Node workers get a preload in NODE_OPTIONS, which marks responses with
				* `Connection: close` while they drain: keep-alive clients see no cut */

	/* Reload, and limits that recycle: each worker that is over one gets its successor first, `surge`
	 * at a time. Each takes its own limit from the last tenth below, so that they do not all go at
	 * once. 0: no limit. */
	uint32_t soak_ms;      /* a new worker has to stay ready so long before its predecessor drains */
	uint32_t surge;        /* slots that may have two workers at a time; UMBEL_SURGE_ALL: all, and no
				* predecessor drains before every successor has soaked */
	uint64_t recycle_bytes; /* resident memory */
	uint64_t recycle_age_ms;
	uint64_t recycle_connections; /* handed to it */

	uint32_t window;       /* connections a Node worker may have unanswered, 1..64; it gets a second
				* only when every ready worker has one. 1 is Node's own lock-step */
	size_t max_message;    /* bytes of one message either way, 1 KiB..1 GiB */
	size_t max_queue;      /* bytes waiting for one worker; then umbel_send() says -EAGAIN */

	/* Programs that do not speak the channel: their bind(2) and listen(2) are answered by the primary
	 * (seccomp_unotify(2)), and each address is a listener that the kernel steers. */
	char *const *no_share; /* addresses, NULL-terminated, whose bind(2) is left alone; NULL: none. With `listen`
				* only those that stand there are shared; else all, but port 0 and unix sockets */
	bool share_udp;        /* udp too */
	char *const *ready_command; /* argv, NULL-terminated: run with the worker's environment, again and again,
				* once the worker listens (or says that it is ready; where nobody sees it listen, from
				* its start), until it exits with 0: then it is ready, and not before. A run may take
				* 10 s. NULL: none */
	uint32_t ready_after_ms; /* one that never listens is ready then; 0: never, and then ready_ms ends it. What
				* nobody sees listen (no channel, or sockets by LISTEN_FDS): 0 is min_up_ms */
	uint32_t linger_ms;    /* when a worker that says nothing is to leave, how long handshakes under way are waited
				* for, and connections that look idle but stay open */
	uint32_t spares;       /* workers that are started ahead and held before they listen, until a kept slot
				* without a program or environment of its own needs one. Until then they are workers
				* with slot 0 (umbel_slot() too), and UMBEL_READY is told when they serve. They have
				* neither UMBEL_SLOT nor NODE_APP_INSTANCE in their environment. At most 64; not
				* with ready_after_ms */
};
#define UMBEL_SURGE_ALL UINT32_MAX
#define UMBEL_SETTINGS                                                                             \
	{                                                                                          \
		sizeof(struct umbel_settings), NULL, NULL, NULL, NULL, -1, -1,                     \
		    {-1, -1, -1, -3, -4, -4, -4, -4}, UMBEL_AUTO, 0, NULL, NULL, false, UMBEL_RESTART_ALWAYS, NULL, 1000, 5, false, 30000, false, 25000, 15 /* TERM */,  \
		    false, NULL, true, 1000, 1, 0, 0, 0, 4, 16u << 20, 64u << 20,                    \
		    NULL, false, NULL, 0, 3000, 0                                                  \
	}

/* ---- both roles ---- */

/* Opens the cluster. argc and argv are main()'s (kept for workers' argv; the memory stays yours).
 * A worker is one whose environment says so: UMBEL_CHANNEL, or NODE_CHANNEL_FD with NODE_UNIQUE_ID;
 * these are then removed from it. The primary raises its soft descriptor limit to the hard one;
 * workers get the old one back. A closed 0, 1 or 2 becomes /dev/null there.
 * -EPROTO: told to be a worker, but the channel is broken or speaks another serialization. */
int umbel_open(int argc, char **argv, struct umbel **ret);

/* NULL is fine. A primary's workers are killed: umbel_stop() first and run until it is over. */
void umbel_close(struct umbel *u);

bool umbel_is_primary(const struct umbel *u);

/* Runs until it is over. Primary: stopped and empty, 0. Worker: drained, 0. Either: an UMBEL_FAILED
 * without a handler, its error. */
int umbel_run(struct umbel *u);

/* For a loop of your own: readable when umbel_dispatch() has something to do. */
int umbel_fd(struct umbel *u);
int umbel_dispatch(struct umbel *u); /* never blocks; 1: not over, 0: over, <0: as umbel_run() */

/* Causes one UMBEL_WOKEN. Any thread, any signal handler. */
int umbel_wake(struct umbel *u);

/* Primary: no respawn any more, every worker asked to leave; a second call kills them. Worker: tells
 * the primary, drains and leaves (Node's worker.disconnect()). */
int umbel_stop(struct umbel *u);

/* One handler for each type; NULL removes it. */
int umbel_on(struct umbel *u, enum umbel_event_type type, umbel_handler *f, void *data);

/* Sends one JSON value (len bytes; line breaks between tokens become spaces), in order, whole or not
 * at all. `to`: a worker; NULL in a worker: the primary; NULL in the primary: every connected worker
 * (no fd then; returns how many got it). fd: -1, or a descriptor to pass: a TCP, unix stream or UDP
 * socket; between libumbel processes any. Taken on success. When it does not arrive because the other side is out of
 * descriptors, the message is sent again, three times, behind what came later; then UMBEL_FAILED.
 * -EINVAL not one JSON value, nested deeper than 2048, or a `cmd` of Node's own (NODE_...);
 * -EMSGSIZE over max_message; -EAGAIN queue full, or 128 descriptors not acknowledged: wait for UMBEL_WRITABLE; -EPIPE it is gone;
 * -ENOTSUP this kind of descriptor. To a Node worker send only what follows its first message or
 * UMBEL_LISTENING: Node drops what comes before the program listens. */
int umbel_send(struct umbel *u, struct umbel_worker *to, const char *json, size_t len, int fd);

/* The descriptor of an UMBEL_MESSAGE, now yours, or -1. Once. From Node it comes non-blocking. Node's server that it
 * is a connection of counts it until it is closed, by close(2) or any other way. */
int umbel_take_fd(const struct umbel_event *e);

/* A sentence for the last error; never NULL; u may be NULL (then: the last umbel_open()). */
const char *umbel_reason(const struct umbel *u);

/* CPUs that this process may use: its affinity mask, capped by its cgroup's quota (v1 and v2, every
 * level up to the root) rounded up. At least 1. */
int umbel_parallelism(void);

uint32_t umbel_version(void);

/* ---- primary ---- */

/* For workers started from now on. -EINVAL with a reason that names the field. */
int umbel_setup(struct umbel *u, const struct umbel_settings *s);
const struct umbel_settings *umbel_settings(const struct umbel *u); /* valid until the next umbel_setup() */

/* One worker more, in the lowest empty slot. env: "K=V" for this one, or NULL. ret may be NULL.
 * What fails after the fork (the exec itself) is UMBEL_FAILED. */
int umbel_fork(struct umbel *u, char *const *env, struct umbel_worker **ret);

/* The same with a program of its own, for this worker and those that follow it in its slot: exec and argv as
 * in settings, where NULL stands for what is there. */
int umbel_fork_as(struct umbel *u, const char *exec, char *const *argv, char *const *env,
		  struct umbel_worker **ret);

/* Keeps that many, 0..1024, and turns respawn on; fewer than there are: the highest slots drain. Failed
 * slots are tried again. When a worker cannot be started those before it stay: call it again, or
 * umbel_stop(). */
int umbel_scale(struct umbel *u, int workers);

/* Replaces every worker by one started anew: the program is read from disk again. A successor comes beside
 * each (settings.surge at a time) and is given no connection until it has been ready for soak_ms; only then
 * its predecessor drains. When a successor dies or is not ready in time all of it is undone: predecessors
 * that are still there go on; a slot whose predecessor has left keeps its new worker. UMBEL_RELOADED tells
 * how it ended. canary > 0: only so many first; then they serve, and their predecessors wait, taking
 * nothing, for hold_ms (0: until umbel_reload_end()) before the rest follows.
 * -EBUSY: one is running; -ESHUTDOWN: stopping. */
int umbel_reload(struct umbel *u, unsigned canary, uint32_t hold_ms);

/* undo: ends the reload that runs, at any time. Else ends its hold and goes on; -EAGAIN: it does not hold
 * now. -ENOENT: none runs. */
int umbel_reload_end(struct umbel *u, bool undo);

/* Asks a worker to leave (drain, part, not refilled); NULL: all, then UMBEL_EMPTY. */
int umbel_disconnect(struct umbel *u, struct umbel_worker *w);
int umbel_kill(struct umbel_worker *w, int sig); /* a plain kill(2), the respawn rules stay; -ESRCH: dead */

/* Switches a listener, or with NULL the whole app: those that are there and can have it, and those to come.
 * Live: no connection is lost. -ENOENT: no such listener; -ENOTSUP with a reason: it cannot have it, now or
 * ever (a unix or passed socket cannot be steered, UDP cannot be handed over, UMBEL_SHARED is chosen when a
 * listener is opened and stays). */
int umbel_set_policy(struct umbel *u, const char *address, enum umbel_policy p);
enum umbel_policy umbel_policy(const struct umbel *u, const char *address); /* NULL, or not there: of those to come */

/* Your own policy: returns the id of a worker; 0, or one that can take nothing now: the listener's own
 * policy decides. fd is the connection, non-blocking, to look at: recv(2) with MSG_PEEK; do not read from it or
 * keep it. Called when it has bytes, or 1 s after accept; 1024 connections of a listener may wait for that, more
 * go by its policy unseen. While there is one every connection comes through the primary. address NULL: every
 * listener of TCP and unix streams, but UMBEL_SHARED's. f NULL: no more.
 * -ENOENT, -ENOTSUP as umbel_set_policy(). */
typedef uint32_t umbel_chooser(struct umbel *u, int fd, void *data);
int umbel_choose(struct umbel *u, const char *address, umbel_chooser *f, void *data);

struct umbel_worker *umbel_worker(const struct umbel *u, uint32_t id);       /* NULL: not any more */
struct umbel_worker *umbel_next(const struct umbel *u, uint32_t after_id);   /* 0: the first; NULL: no more */
uint32_t umbel_worker_id(const struct umbel_worker *w);                      /* 1, 2, ... never used again */
int umbel_worker_slot(const struct umbel_worker *w);                         /* 1..N, its successor gets it too; 0: a spare */
pid_t umbel_worker_pid(const struct umbel_worker *w);
enum umbel_state umbel_worker_state(const struct umbel_worker *w);           /* isDead: == UMBEL_STATE_DEAD */
uint32_t umbel_worker_generation(const struct umbel_worker *w);              /* 1; each reload starts the next */
bool umbel_worker_connected(const struct umbel_worker *w);
bool umbel_worker_asked(const struct umbel_worker *w);                       /* true from the asking on */
int umbel_worker_fd(const struct umbel_worker *w, int stdio);                /* our end of the pipe there, still
									      * ours, until GONE; -1: no pipe */
void **umbel_worker_data(struct umbel_worker *w);                            /* one pointer of yours */

/* ---- worker ---- */

/* Serves an address: f is called with each connection. "tcp://:8000" ([::] for both families, 0.0.0.0
 * without IPv6: as Node), "tcp://127.0.0.1:8000", "tcp://[::1]:0", "unix:///path". Hosts are numeric,
 * with "%eth0" behind them at that interface alone.
 * "udp://127.0.0.1:53" (hosts as for tcp): f is called once, with the bound socket, this worker's own (under
 * UMBEL_SHARED: everybody's); it is yours from then on: close(2) it, without umbel_done(), when UMBEL_DRAIN comes
 * or when you like; a drain does not wait for it. It is non-blocking and has to stay so.
 * Options follow a "?", joined by "&": "tcp://:8000?backlog=511&defer_accept=5"
 *   backlog=N        tcp, unix: connections that may wait in the kernel, 1..65535; 4096; somaxconn caps it
 *   ipv6_only        tcp, udp: with an IPv6 host or none: no IPv4
 *   defer_accept=S   tcp: a connection is accepted when it has bytes, or after S seconds, 1..60 (tcp(7))
 *   fast_open=N      tcp: TCP_FASTOPEN with so many pending, 1..65535 (tcp(7))
 *   mode=0660        unix: permissions of the file
 *   owner=USER[:GROUP]  unix: whose the file is, names or numbers; for a primary that may (root)
 *   shared           UMBEL_SHARED for this address: one socket, also for datagrams that are meant for many
 *                    (broadcast, multicast), of which else every worker gets its own copy
 * Those of settings.listen come first, then those of the worker that asks first.
 * 0 means asked: UMBEL_LISTENING or UMBEL_FAILED follows. -EEXIST: already served. */
int umbel_listen(struct umbel *u, const char *address, umbel_serve *f, void *data);

/* For a server that accepts itself: f is called once, with the listening socket (non-blocking), under
 * UMBEL_STICKY, UMBEL_SPREAD and UMBEL_SHARED; else UMBEL_FAILED with -ENOTSUP. It is yours: close it when
 * UMBEL_DRAIN comes; it is shut down by then, once everything in it was accepted (or after 4 s).
 * umbel_done() is not for its connections, and a drain does not wait for them: umbel_stop() or leave when they
 * are finished. A policy that hands over finds this worker deaf: switching to one is refused while such a worker
 * is there. */
int umbel_listen_socket(struct umbel *u, const char *address, umbel_serve *f, void *data);

int umbel_unlisten(struct umbel *u, const char *address); /* same address; -ENOENT: not served */

/* Once for each fd that umbel_serve got: closes it (-1: you closed it yourself) and counts it; a drain
 * waits for it. Any thread. */
void umbel_done(struct umbel *u, int fd);

/* I can serve. A worker that listens is ready without it. First called before any umbel_listen() it says
 * only that listening is not enough: call it again when ready, also if you never listen. */
int umbel_ready(struct umbel *u);

int umbel_slot(const struct umbel *u);     /* 1..N; 0: unknown (under a Node primary), or a spare: until it serves */
uint32_t umbel_id(const struct umbel *u);

#ifdef __cplusplus
}
#endif
#endif
