#include "wire/handle.h"

#include <stddef.h>
#include <sys/socket.h>

static int option(int fd, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

#define HEAD(type) "{\"cmd\":\"NODE_HANDLE\",\"type\":" type ",\"msg\":"

const char *handle_head(int fd, bool between_libumbel)
{
	int domain = option(fd, SO_DOMAIN), type = option(fd, SO_TYPE);
	bool is_inet = domain == AF_INET || domain == AF_INET6;

	if (type == SOCK_STREAM && (is_inet || domain == AF_UNIX))
		return option(fd, SO_ACCEPTCONN) == 1 ? HEAD("\"net.Server\"") : HEAD("\"net.Socket\"");
	if (type == SOCK_DGRAM && is_inet)
		return domain == AF_INET ? HEAD("\"dgram.Socket\",\"dgramType\":\"udp4\"")
					 : HEAD("\"dgram.Socket\",\"dgramType\":\"udp6\"");
	return between_libumbel ? HEAD("\"umbel.Fd\"") : NULL;
}
