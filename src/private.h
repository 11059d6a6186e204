/* private: what the command needs of a primary beyond umbel.h. Not installed, not exported. */
#ifndef UMBEL_PRIVATE_H
#define UMBEL_PRIVATE_H

#include "umbel.h"

struct uv_loop_s;

/* umbel_open() without a look at the environment: the command is always the primary. */
int private_open_primary(int argc, char **argv, struct umbel **ret);

/* "auto", "node", "channel", "intercept", "listen-fds", "none"; for workers started from now on. -EINVAL: another word. */
int private_set_share(struct umbel *u, const char *share);

/* How workers get their sockets, and why so: of the one that was started last. Constants. */
struct umbel_kind_info {
	const char *share, *why; /* "intercept", "npm is a launcher: ..." */
};
void private_kind_info(const struct umbel *u, struct umbel_kind_info *ret);

/* What exec stands for, as a worker would be started: 0, or -errno with a reason. */
int private_check_program(struct umbel *u);

struct uv_loop_s *private_loop(struct umbel *u); /* for handles of the command's own */
int private_turn(struct umbel *u);               /* umbel_dispatch() that waits for something to do */

/* umbel_worker_fd(), now the caller's. */
int private_take_stdio(struct umbel_worker *w, int stdio);

/* One worker that serves a listener. */
struct umbel_seat_info {
	int slot;
	uint32_t id;      /* of the worker */
	bool counted;     /* false: it accepts by itself, and nobody knows what */
	uint64_t handed;  /* connections that the primary gave it */
	uint64_t skipped; /* times it was passed over in the rotation */
	uint64_t refused; /* connections that it gave back */
	int64_t active;   /* connections that it has and has not finished, of all listeners; -1: it does not say */
	unsigned queued;  /* connections that wait in the slot's own sockets of this listener */
	bool steered;     /* the kernel gives it new ones */
};
typedef void umbel_seat_visit(const struct umbel_seat_info *info, void *data);

struct umbel_listener_info {
	const char *address;
	const char *policy; /* "rr"; "shared": nothing is handed, and who got what is not known */
	unsigned workers;  /* that serve it */
	uint64_t handed, skipped, refused; /* of them all */
	unsigned pending;  /* came back from a worker and wait for another */
	unsigned queued;   /* connections that wait in the kernel, in all its sockets */
	const void *share; /* for private_each_seat() */
};
typedef void umbel_listener_visit(const struct umbel_listener_info *info, void *data);
void private_each_listener(const struct umbel *u, umbel_listener_visit *f, void *data);
void private_each_seat(const struct umbel_listener_info *listener, umbel_seat_visit *f, void *data);

/* How many connections a tcp listener's port has, and the share of the client address that has most of them
 * (behind a proxy all have one). False: not known, or not tcp. */
struct umbel_clients_info {
	unsigned connections, busiest;
	char address[64];
};
bool private_clients(const struct umbel *u, const struct umbel_listener_info *listener, struct umbel_clients_info *ret);

const char *private_policy_name(enum umbel_policy p);                     /* "rr" */
bool private_policy_from_name(const char *name, enum umbel_policy *ret); /* false: no such one; "auto" is one */
#define PRIVATE_POLICY_NAMES "rr, least, sticky, spread or shared"

struct umbel_worker_info {
	unsigned restarts; /* of its slot */
	int64_t up_ms;
	bool counted;      /* false: wherever it serves it accepts by itself */
	uint64_t handed;
	int64_t active;    /* connections that it has and has not finished; -1: it does not say */
	unsigned queued;   /* handed and not yet taken, as far as is known */
	const char *kind;
	bool takes;          /* is given connections: it does not prove itself, nor wait for one on trial */
	bool has_no_program; /* the exec failed */
	const char *status;  /* STATUS= of sd_notify(3), as it came, until the next turn; NULL: it says nothing */
};
void private_worker_info(const struct umbel_worker *w, struct umbel_worker_info *ret);

struct umbel_slot_info {
	int slot;
	const char *state; /* "serving" */
	unsigned restarts, crashes;
	int64_t next_start_ms; /* from now; -1: it does not wait */
};
typedef void umbel_slot_visit(const struct umbel_slot_info *info, void *data);
void private_each_slot(const struct umbel *u, umbel_slot_visit *f, void *data);

const char *private_policy(const struct umbel *u); /* of listeners that are opened from now on */
int private_wanted(const struct umbel *u);          /* slots that want a worker */
uint32_t private_generation(const struct umbel *u); /* of who is started now */

struct umbel_reload_info {
	const char *phase; /* "rolling", "canary", "hold", "undo"; NULL: none runs */
	uint32_t generation;
	int64_t hold_left_ms; /* -1: not in a hold, or until told */
};
void private_reload_info(const struct umbel *u, struct umbel_reload_info *ret);

/* umbel_reload() with the new generation's environment: base in the place of ours and settings.env (NULL: as
 * it was), more ("K=V") added to it; both NULL-terminated. */
int private_reload(struct umbel *u, unsigned canary, uint32_t hold_ms, char *const *base,
		   char *const *more);
void private_reload_by_signal(struct umbel *u); /* now, or once more after the one that runs */

/* Decisions and what they rest on: slot (0: the whole app's), a word, a sentence. */
typedef void private_note(int slot, const char *what, const char *text, void *data);
void private_on_note(struct umbel *u, private_note *f, void *data);

#endif
