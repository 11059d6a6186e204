/* A primary that does what it is told, for the contract tests: speaks as tests/contract/driver.js, which
 * is a primary of Node's own cluster module and says there what the commands and events are. Its workers
 * are Node programs. Left out: what only Node has (`serialization`). Only here, in "setup":
 *     grace_ms, stop_signal, preload, pass_fds, max_message, max_queue    of settings
 * The last line of stdout, which is no event, is that of primary_report(). */
#include "primary.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_WORDS = 32, MAX_WORKERS = 256, MAX_HANDS = 8, MAX_TAKEN = 32, MAX_PIPES = 32 };

/* Strings made of JSON, for umbel_settings: NULL-terminated. */
struct words {
	char *word[MAX_WORDS + 1];
	int count;
};

/* A listener for "hand": whose the next connection is. */
struct hand {
	int fd; /* -1: none */
	uint32_t id;
	char *json;
};

/* A descriptor that came with a message. */
struct taken {
	int fd; /* -1: none */
	uint32_t id; /* who sent it */
	bool reads; /* it is read until its end; else it is kept */
	char text[1024];
	size_t len;
};

/* Of settings.stdio. */
struct pipe {
	int fd; /* -1: none */
	struct umbel_worker *w;
	int index;
};

static struct umbel *umbel;
static struct pipe pipes[MAX_PIPES];
static struct hand hands[MAX_HANDS];
static struct taken taken[MAX_TAKEN];
static char take[16] = "close";
static bool online[MAX_WORKERS]; /* by id */
static bool asked[MAX_WORKERS];  /* those that are gone */

/* ---- events ---- */

/* Takes event. */
static void say(json_t *event)
{
	json_dumpf(event, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	putchar('\n');
	fflush(stdout);
	json_decref(event);
}

static void on_named(struct umbel *u, const struct umbel_event *e, void *name)
{
	say(json_pack("[si]", (char *)name, (int)umbel_worker_id(e->worker)));
}

static void on_fork(struct umbel *u, const struct umbel_event *e, void *data)
{
	struct pipe *p = pipes;

	for (int i = 0; i < UMBEL_STDIO_MAX; i++) {
		if (umbel_worker_fd(e->worker, i) < 0)
			continue;
		while (p < pipes + MAX_PIPES - 1 && p->fd >= 0)
			p++;
		*p = (struct pipe){umbel_worker_fd(e->worker, i), e->worker, i};
	}
	on_named(u, e, "fork");
}

static void pipe_read(struct pipe *p)
{
	char text[1024];
	ssize_t n = read(p->fd, text, sizeof(text));

	if (n > 0)
		say(json_pack("[siis%]", "pipe", (int)umbel_worker_id(p->w), p->index, text, (size_t)n));
	else
		p->fd = -1; /* libumbel closes it */
}

/* addressType as Node has it: 4, 6, -1 of a unix socket, "udp4", "udp6", null of a descriptor. */
static json_t *address_type(const struct umbel_event *e)
{
	bool udp = strncmp(e->listening.address, "udp:", 4) == 0;

	switch (e->listening.family) {
	case AF_INET:
		return udp ? json_string("udp4") : json_integer(4);
	case AF_INET6:
		return udp ? json_string("udp6") : json_integer(6);
	case AF_UNIX:
		return json_integer(-1);
	default:
		return json_null();
	}
}

static void on_online(struct umbel *u, const struct umbel_event *e, void *name)
{
	online[umbel_worker_id(e->worker) % MAX_WORKERS] = true;
	on_named(u, e, name);
}

static void on_listening(struct umbel *u, const struct umbel_event *e, void *data)
{
	const char *host = strstr(e->listening.address, "://");
	int port = e->listening.family == AF_UNIX ? -1 : e->listening.port;
	size_t len;

	host = host ? host + 3 : e->listening.address;
	len = strlen(host);
	if (e->listening.family != AF_UNIX && strrchr(host, ':'))
		len = (size_t)(strrchr(host, ':') - host);
	if (len > 1 && host[0] == '[') {
		host++;
		len -= 2;
	}
	say(json_pack("[si{soss%si}]", "listening", (int)umbel_worker_id(e->worker), "addressType",
		      address_type(e), "address", host, len, "port", port));
}

static void say_error(uint32_t id, int err)
{
	say(json_pack("[sis]", "error", (int)id, strerrorname_np(-err)));
}

static void taken_end(struct taken *t)
{
	close(t->fd);
	t->fd = -1;
}

static void taken_read(struct taken *t)
{
	ssize_t n = read(t->fd, t->text + t->len, sizeof(t->text) - t->len);

	if (n > 0) {
		t->len += (size_t)n;
		return;
	}
	say(json_pack("[sis%]", "data", (int)t->id, t->text, t->len));
	taken_end(t);
}

static void take_it(struct umbel *u, const struct umbel_event *e)
{
	struct taken *t = taken;
	int err;

	if (strcmp(take, "close") == 0)
		return; /* as it is when nobody takes it */
	while (t < taken + MAX_TAKEN - 1 && t->fd >= 0)
		t++;
	*t = (struct taken){.fd = umbel_take_fd(e), .id = umbel_worker_id(e->worker)};
	t->reads = strcmp(take, "read") == 0;
	if (strcmp(take, "back") != 0)
		return;
	err = umbel_send(u, e->worker, e->message.json, e->message.len, t->fd);
	if (err) {
		say_error(t->id, err);
		taken_end(t);
	}
	t->fd = -1;
}

static void on_message(struct umbel *u, const struct umbel_event *e, void *data)
{
	json_t *value = json_loadb(e->message.json, e->message.len, JSON_DECODE_ANY | JSON_ALLOW_NUL,
				   NULL);

	say(json_pack("[siob]", "message", (int)umbel_worker_id(e->worker), value,
		      e->message.fd >= 0));
	if (e->message.fd >= 0)
		take_it(u, e);
}

static void on_disconnect(struct umbel *u, const struct umbel_event *e, void *data)
{
	say(json_pack("[sib]", "disconnect", (int)umbel_worker_id(e->worker),
		      umbel_worker_asked(e->worker)));
}

static void on_exit_of(struct umbel *u, const struct umbel_event *e, void *data)
{
	json_t *code = e->exit.code >= 0 ? json_integer(e->exit.code) : json_null();
	char name[32] = "";

	if (e->exit.signal >= 0)
		snprintf(name, sizeof(name), "SIG%s", sigabbrev_np(e->exit.signal));
	say(json_pack("[sios?b]", "exit", (int)umbel_worker_id(e->worker), code,
		      name[0] ? name : NULL, e->exit.asked));
}

static void on_gone(struct umbel *u, const struct umbel_event *e, void *data)
{
	asked[umbel_worker_id(e->worker) % MAX_WORKERS] = umbel_worker_asked(e->worker);
	for (struct pipe *p = pipes; p < pipes + MAX_PIPES; p++)
		if (p->fd >= 0 && p->w == e->worker) {
			pipe_read(p);
			p->fd = -1;
		}
}

/* Of a worker that runs (an address that cannot be bound, say) Node has no event. */
static void on_failed(struct umbel *u, const struct umbel_event *e, void *data)
{
	uint32_t id = e->worker ? umbel_worker_id(e->worker) : 0;

	fprintf(stderr, "driver: %s\n", e->result.why);
	if (!online[id % MAX_WORKERS])
		say_error(id, e->result.error);
}

static void on_empty(struct umbel *u, const struct umbel_event *e, void *data)
{
	say(json_pack("[s]", "disconnected"));
	umbel_on(u, UMBEL_EMPTY, NULL, NULL);
}

/* ---- commands ---- */

static void words_add(struct words *w, const char *a, const char *b, const char *c)
{
	if (w->count < MAX_WORDS && asprintf(&w->word[w->count], "%s%s%s", a, b, c) >= 0)
		w->count++;
}

/* Those of an array as they are, those of an object as K=V. */
static void words_add_json(struct words *w, json_t *json)
{
	const char *key;
	json_t *value;
	size_t i;

	json_array_foreach(json, i, value)
		words_add(w, json_string_value(value), "", "");
	json_object_foreach(json, key, value)
		words_add(w, key, "=", json_string_value(value));
}

static void words_finish(struct words *w)
{
	while (w->count > 0)
		free(w->word[--w->count]);
}

static int signal_number(const char *name)
{
	for (int sig = 1; name && sig < 32; sig++)
		if (sigabbrev_np(sig) && strcmp(sigabbrev_np(sig), name + strlen("SIG")) == 0)
			return sig;
	return -1;
}

static int integer(json_t *object, const char *name, int otherwise)
{
	json_t *value = json_object_get(object, name);

	return json_is_integer(value) ? (int)json_integer_value(value) : otherwise;
}

static void stdio_of(int *places, json_t *o)
{
	json_t *stdio = json_object_get(o, "stdio");
	static const struct {
		const char *word;
		int place;
	} words[] = {{"inherit", UMBEL_STDIO_INHERIT}, {"pipe", UMBEL_STDIO_PIPE},
		     {"ipc", UMBEL_STDIO_CHANNEL}, {"ignore", UMBEL_STDIO_NONE}};
	json_t *word;
	size_t i;

	for (i = 0; i < 3 && json_is_true(json_object_get(o, "silent")); i++)
		places[i] = UMBEL_STDIO_PIPE;
	for (i = 0; stdio && i < UMBEL_STDIO_MAX; i++)
		places[i] = UMBEL_STDIO_NONE;
	json_array_foreach(stdio, i, word)
		for (size_t j = 0; j < sizeof(words) / sizeof(words[0]); j++)
			if (strcmp(words[j].word, json_string_value(word)) == 0)
				places[i % UMBEL_STDIO_MAX] = words[j].place;
}

/* Later settings change the given ones only, as in Node. */
static int setup(json_t *changes)
{
	static json_t *o;
	const char *node = getenv("UMBEL_TEST_NODE"), *policy, *sig;
	struct umbel_settings s = UMBEL_SETTINGS;
	struct words argv = {0}, env = {0};
	int fds[MAX_WORDS + 1], err;
	size_t i;
	json_t *fd;

	o = o ? o : json_object();
	json_object_update(o, changes);
	s.exec = node ? node : "node";
	words_add(&argv, s.exec, "", "");
	words_add_json(&argv, json_object_get(o, "execArgv"));
	words_add(&argv, json_string_value(json_object_get(o, "exec")), "", "");
	words_add_json(&argv, json_object_get(o, "args"));
	s.argv = argv.word;
	words_add_json(&env, json_object_get(o, "env"));
	s.env = env.word;
	s.cwd = json_string_value(json_object_get(o, "cwd"));
	stdio_of(s.stdio, o);
	s.uid = integer(o, "uid", -1);
	s.gid = integer(o, "gid", -1);
	policy = json_string_value(json_object_get(o, "policy"));
	if (policy)
		s.policy = strcmp(policy, "none") == 0 ? UMBEL_SHARED : UMBEL_RR;
	json_array_foreach(json_object_get(o, "pass_fds"), i, fd)
		fds[i % MAX_WORDS] = (int)json_integer_value(fd);
	fds[json_array_size(json_object_get(o, "pass_fds"))] = -1;
	s.pass_fds = fds;
	s.max_message = (size_t)integer(o, "max_message", (int)s.max_message);
	s.max_queue = (size_t)integer(o, "max_queue", (int)s.max_queue);
	s.grace_ms = (uint32_t)integer(o, "grace_ms", (int)s.grace_ms);
	if (json_is_false(json_object_get(o, "preload")))
		s.node_preload = false;
	/* Node sends no signal to one that was disconnected, and nobody minds this one. */
	sig = json_string_value(json_object_get(o, "stop_signal"));
	s.stop_signal = sig ? signal_number(sig) : SIGCONT;
	err = umbel_setup(umbel, &s);
	words_finish(&argv);
	words_finish(&env);
	return err;
}

static int fork_one(json_t *env)
{
	struct words words = {0};
	int err;

	words_add_json(&words, env);
	err = umbel_fork(umbel, words.word, NULL);
	words_finish(&words);
	return err;
}

static int send_json(struct umbel_worker *w, json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	int err = umbel_send(umbel, w, text, strlen(text), -1);

	free(text);
	return err;
}

/* A socket on a port of 127.0.0.1, listening if it can; says which. */
static int open_socket(const char *event, uint32_t id, int type, int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), err;
	socklen_t len = sizeof(at);

	if (bind(fd, (struct sockaddr *)&at, len) < 0 || (type == SOCK_STREAM && listen(fd, 8) < 0) ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	say(json_pack("[sii]", event, (int)id, (int)ntohs(at.sin_port)));
	return fd;
}

static int hand(uint32_t id, int port, json_t *message)
{
	struct hand *h = hands;

	while (h < hands + MAX_HANDS - 1 && h->fd >= 0)
		h++;
	h->fd = open_socket("hand", id, SOCK_STREAM, port);
	if (h->fd < 0)
		return h->fd;
	h->id = id;
	h->json = json_dumps(message, JSON_COMPACT | JSON_ENCODE_ANY);
	return 0;
}

static int give(struct umbel_worker *w, const char *kind, json_t *message)
{
	int fd = open_socket("give", umbel_worker_id(w), strcmp(kind, "udp") ? SOCK_STREAM : SOCK_DGRAM, 0);
	char *text = json_dumps(message, JSON_COMPACT | JSON_ENCODE_ANY);
	int err = fd < 0 ? fd : umbel_send(umbel, w, text, strlen(text), fd);

	if (err && fd >= 0)
		close(fd);
	free(text);
	return err;
}

static void hand_end(struct hand *h)
{
	close(h->fd);
	free(h->json);
	h->fd = -1;
}

static void hand_over(struct hand *h)
{
	int fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC), err;

	err = umbel_send(umbel, umbel_worker(umbel, h->id), h->json, strlen(h->json), fd);
	if (err) {
		say_error(h->id, err);
		close(fd);
	}
	hand_end(h);
}

static int write_pipe(struct umbel_worker *w, int index, const char *text)
{
	return write(umbel_worker_fd(w, index), text, strlen(text)) < 0 ? -errno : 0;
}

static void release(void)
{
	for (struct taken *t = taken; t < taken + MAX_TAKEN; t++)
		if (t->fd >= 0)
			taken_end(t);
}

static void show(uint32_t id)
{
	struct umbel_worker *w = umbel_worker(umbel, id);

	say(json_pack("[si{sbsbsb}]", "show", (int)id, "connected", w && umbel_worker_connected(w),
		      "dead", !w || umbel_worker_state(w) == UMBEL_STATE_DEAD, "exitedAfterDisconnect",
		      w ? umbel_worker_asked(w) : asked[id % MAX_WORKERS]));
}

static void list(void)
{
	json_t *ids = json_array();

	for (uint32_t id = 0; umbel_next(umbel, id);) {
		id = umbel_worker_id(umbel_next(umbel, id));
		json_array_append_new(ids, json_integer(id));
	}
	say(json_pack("[so]", "workers", ids));
}

static int disconnect(struct umbel_worker *w)
{
	if (!w)
		umbel_on(umbel, UMBEL_EMPTY, on_empty, NULL);
	return umbel_disconnect(umbel, w);
}

/* False: to quit. */
static bool obey(const char *line)
{
	json_t *command = json_loads(line, JSON_ALLOW_NUL, NULL);
	const char *verb = json_string_value(json_array_get(command, 0));
	json_t *first = json_array_get(command, 1), *second = json_array_get(command, 2);
	uint32_t id = (uint32_t)json_integer_value(first);
	struct umbel_worker *w = umbel_worker(umbel, id);
	bool goes_on = verb && strcmp(verb, "quit") != 0;
	int err = 0;

	if (!goes_on)
		; /* the caller's */
	else if (strcmp(verb, "setup") == 0)
		err = setup(first);
	else if (strcmp(verb, "fork") == 0)
		err = fork_one(first);
	else if (strcmp(verb, "show") == 0)
		show(id);
	else if (strcmp(verb, "workers") == 0)
		list();
	else if (strcmp(verb, "take") == 0)
		snprintf(take, sizeof(take), "%s", json_string_value(first));
	else if (strcmp(verb, "release") == 0)
		release();
	else if (strcmp(verb, "exit") == 0)
		_exit((int)json_integer_value(first));
	else if (strcmp(verb, "throw") == 0)
		abort();
	else if (id > 0 && !w)
		/* Nothing to do, for Node too. */
		err = strcmp(verb, "disconnect") == 0 || strcmp(verb, "kill") == 0 ? 0 : -EPIPE;
	else if (strcmp(verb, "disconnect") == 0)
		err = disconnect(w);
	else if (strcmp(verb, "send") == 0)
		err = send_json(w, second);
	else if (strcmp(verb, "hand") == 0)
		err = hand(id, (int)json_integer_value(second), json_array_get(command, 3));
	else if (strcmp(verb, "pipe") == 0)
		err = write_pipe(w, (int)json_integer_value(second),
				 json_string_value(json_array_get(command, 3)));
	else if (strcmp(verb, "give") == 0)
		err = give(w, json_string_value(second), json_array_get(command, 3));
	else if (strcmp(verb, "kill") == 0)
		err = umbel_kill(w, signal_number(json_string_value(second)));
	else
		err = -EINVAL;
	if (err < 0) {
		fprintf(stderr, "driver: %s: %s\n", line, umbel_reason(umbel));
		say_error(id, err);
	}
	json_decref(command);
	return goes_on;
}

/* What has come of stdin; false: over. */
static bool read_commands(void)
{
	static char text[1 << 21];
	static size_t len;
	ssize_t n = read(STDIN_FILENO, text + len, sizeof(text) - 1 - len);
	bool goes_on = n > 0;
	char *end;

	if (n > 0)
		len += (size_t)n;
	text[len] = '\0';
	while (goes_on && (end = strchr(text, '\n'))) {
		*end++ = '\0';
		goes_on = obey(text);
		len -= (size_t)(end - text);
		memmove(text, end, len + 1);
	}
	return goes_on;
}

/* All that is read: no more than are open, because poll(2) allows no more than RLIMIT_NOFILE. */
static nfds_t watch(struct pollfd *p)
{
	nfds_t count = 0;

	p[count++] = (struct pollfd){umbel_fd(umbel), POLLIN, 0};
	p[count++] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
	for (int i = 0; i < MAX_HANDS; i++)
		if (hands[i].fd >= 0)
			p[count++] = (struct pollfd){hands[i].fd, POLLIN, 0};
	for (int i = 0; i < MAX_TAKEN; i++)
		if (taken[i].fd >= 0 && taken[i].reads)
			p[count++] = (struct pollfd){taken[i].fd, POLLIN, 0};
	for (int i = 0; i < MAX_PIPES; i++)
		if (pipes[i].fd >= 0)
			p[count++] = (struct pollfd){pipes[i].fd, POLLIN, 0};
	return count;
}

static void on_readable(int fd)
{
	for (int i = 0; i < MAX_HANDS; i++)
		if (hands[i].fd == fd)
			return hand_over(&hands[i]);
	for (int i = 0; i < MAX_TAKEN; i++)
		if (taken[i].fd == fd)
			return taken_read(&taken[i]);
	for (int i = 0; i < MAX_PIPES; i++)
		if (pipes[i].fd == fd)
			return pipe_read(&pipes[i]);
}

static int loop(void)
{
	struct pollfd p[2 + MAX_HANDS + MAX_TAKEN + MAX_PIPES];
	nfds_t count;
	int r = 1;

	while (r == 1) {
		count = watch(p);
		if (poll(p, count, -1) < 0)
			continue;
		for (nfds_t i = 2; i < count; i++)
			if (p[i].revents)
				on_readable(p[i].fd);
		if (p[1].revents && !read_commands())
			return 0;
		r = umbel_dispatch(umbel);
	}
	return r;
}

int main(int argc, char **argv)
{
	int before = 0, r;

	if (primary_open(argc, argv, &umbel, &before) < 0) {
		fprintf(stderr, "driver: %s\n", umbel_reason(NULL));
		return 2;
	}
	umbel_on(umbel, UMBEL_FORK, on_fork, NULL);
	umbel_on(umbel, UMBEL_ONLINE, on_online, "online");
	umbel_on(umbel, UMBEL_LISTENING, on_listening, NULL);
	umbel_on(umbel, UMBEL_MESSAGE, on_message, NULL);
	umbel_on(umbel, UMBEL_DISCONNECT, on_disconnect, NULL);
	umbel_on(umbel, UMBEL_EXIT, on_exit_of, NULL);
	umbel_on(umbel, UMBEL_GONE, on_gone, NULL);
	umbel_on(umbel, UMBEL_FAILED, on_failed, NULL);
	for (int i = 0; i < MAX_HANDS; i++)
		hands[i].fd = -1;
	for (int i = 0; i < MAX_TAKEN; i++)
		taken[i].fd = -1;
	for (int i = 0; i < MAX_PIPES; i++)
		pipes[i].fd = -1;
	r = loop();
	release();
	for (int i = 0; i < MAX_HANDS; i++)
		if (hands[i].fd >= 0)
			hand_end(&hands[i]);
	umbel_close(umbel);
	primary_report(before);
	return r != 0;
}
