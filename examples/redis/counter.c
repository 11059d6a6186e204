/* redis_counter: how often a client was here, counted in Redis: the same in every worker, and after a reload or
 * a crash. A client is its address here; where it matters it would be a cookie.
 *
 *     redis_counter [PORT [REDIS_PORT]]     then a few times: nc localhost 8000 */
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <umbel.h>

/* One for each worker, made in the worker: processes cannot share one. */
static redisContext *redis;
static int redis_port;

static const struct timeval patience = {1, 0};

static bool is_connected(void)
{
	if (redis && redis->err) { /* such a one stays broken */
		redisFree(redis);
		redis = NULL;
	}
	if (!redis) {
		redis = redisConnectWithTimeout("127.0.0.1", redis_port, patience);
		if (redis && !redis->err)
			redisSetTimeout(redis, patience);
	}
	return redis && !redis->err;
}

/* -1: Redis does not answer. INCR, not GET and SET: two workers may do it at the same time. */
static long long count(const char *client)
{
	redisReply *reply = is_connected() ? redisCommand(redis, "INCR visits:%s", client) : NULL;
	long long visits = reply && reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;

	if (reply)
		freeReplyObject(reply);
	return visits;
}

/* It waits for Redis, and so do the worker's other connections; hiredis also has an asynchronous way. */
static void serve(struct umbel *u, int fd, void *data)
{
	struct sockaddr_storage peer;
	struct sockaddr *address = (struct sockaddr *)&peer;
	socklen_t len = sizeof(peer);
	char client[NI_MAXHOST];
	long long visits;

	if (getpeername(fd, address, &len) != 0 ||
	    getnameinfo(address, len, client, sizeof(client), NULL, 0, NI_NUMERICHOST) != 0) {
		umbel_done(u, fd); /* it has gone already */
		return;
	}
	visits = count(client);
	if (visits < 0)
		dprintf(fd, "Redis does not answer\n");
	else
		dprintf(fd, "%lld by worker %d\n", visits, umbel_slot(u));
	umbel_done(u, fd);
}

int main(int argc, char **argv)
{
	struct umbel *u = NULL;
	char address[64];
	int err;

	signal(SIGPIPE, SIG_IGN);
	snprintf(address, sizeof(address), "tcp://:%s", argc > 1 ? argv[1] : "8000");
	redis_port = argc > 2 ? atoi(argv[2]) : 6379;

	err = umbel_open(argc, argv, &u);
	if (!err)
		err = umbel_is_primary(u) ? umbel_scale(u, umbel_parallelism())
					  : umbel_listen(u, address, serve, NULL);
	if (!err)
		err = umbel_run(u);
	if (err)
		fprintf(stderr, "redis_counter: %s\n", umbel_reason(u));
	if (redis)
		redisFree(redis);
	umbel_close(u);
	return err != 0;
}
