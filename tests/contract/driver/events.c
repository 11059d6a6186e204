/* events: what a driver prints, a JSON array on each line of stdout: what libumbel tells, in Node's
 * terms. What a command or a socket has to say comes through events_say(). */
#include "driver.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void events_say(json_t *event)
{
	json_dumpf(event, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	putchar('\n');
	fflush(stdout);
	json_decref(event);
}

void events_say_error(uint32_t id, int err)
{
	events_say(json_pack("[sis]", "error", (int)id, strerrorname_np(-err)));
}

static void on_fork(struct umbel *u, const struct umbel_event *e, void *driver)
{
	sockets_add_pipes(driver, e->worker);
	events_say(json_pack("[si]", "fork", (int)umbel_worker_id(e->worker)));
}

static void on_online(struct umbel *u, const struct umbel_event *e, void *driver)
{
	struct driver *d = driver;
	uint32_t id = umbel_worker_id(e->worker);

	d->online[id % MAX_WORKERS] = true;
	events_say(json_pack("[si]", "online", (int)id));
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

static void on_listening(struct umbel *u, const struct umbel_event *e, void *driver)
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
	events_say(json_pack("[si{soss%si}]", "listening", (int)umbel_worker_id(e->worker),
			     "addressType", address_type(e), "address", host, len, "port", port));
}

static void on_message(struct umbel *u, const struct umbel_event *e, void *driver)
{
	json_t *value = json_loadb(e->message.json, e->message.len, JSON_DECODE_ANY | JSON_ALLOW_NUL,
				   NULL);

	events_say(json_pack("[siob]", "message", (int)umbel_worker_id(e->worker), value,
			     e->message.fd >= 0));
	if (e->message.fd >= 0)
		sockets_take(driver, e);
}

static void on_disconnect(struct umbel *u, const struct umbel_event *e, void *driver)
{
	events_say(json_pack("[sib]", "disconnect", (int)umbel_worker_id(e->worker),
			     umbel_worker_asked(e->worker)));
}

static void on_exit_of(struct umbel *u, const struct umbel_event *e, void *driver)
{
	json_t *code = e->exit.code >= 0 ? json_integer(e->exit.code) : json_null();
	char name[32] = "";

	if (e->exit.signal >= 0)
		snprintf(name, sizeof(name), "SIG%s", sigabbrev_np(e->exit.signal));
	events_say(json_pack("[sios?b]", "exit", (int)umbel_worker_id(e->worker), code,
			     name[0] ? name : NULL, e->exit.asked));
}

static void on_gone(struct umbel *u, const struct umbel_event *e, void *driver)
{
	struct driver *d = driver;

	d->asked[umbel_worker_id(e->worker) % MAX_WORKERS] = umbel_worker_asked(e->worker);
	sockets_remove_pipes(d, e->worker);
}

/* Of a worker that runs (an address that cannot be bound, say) Node has no event. */
static void on_failed(struct umbel *u, const struct umbel_event *e, void *driver)
{
	const struct driver *d = driver;
	uint32_t id = e->worker ? umbel_worker_id(e->worker) : 0;

	fprintf(stderr, "driver: %s\n", e->result.why);
	if (!d->online[id % MAX_WORKERS])
		events_say_error(id, e->result.error);
}

static void on_empty(struct umbel *u, const struct umbel_event *e, void *driver)
{
	events_say(json_pack("[s]", "disconnected"));
	umbel_on(u, UMBEL_EMPTY, NULL, NULL);
}

void events_watch_empty(struct driver *d)
{
	umbel_on(d->umbel, UMBEL_EMPTY, on_empty, d);
}

void events_watch(struct driver *d)
{
	umbel_on(d->umbel, UMBEL_FORK, on_fork, d);
	umbel_on(d->umbel, UMBEL_ONLINE, on_online, d);
	umbel_on(d->umbel, UMBEL_LISTENING, on_listening, d);
	umbel_on(d->umbel, UMBEL_MESSAGE, on_message, d);
	umbel_on(d->umbel, UMBEL_DISCONNECT, on_disconnect, d);
	umbel_on(d->umbel, UMBEL_EXIT, on_exit_of, d);
	umbel_on(d->umbel, UMBEL_GONE, on_gone, d);
	umbel_on(d->umbel, UMBEL_FAILED, on_failed, d);
}
