#include "wire/handle.h"

#include <stddef.h>
#include <sys/socket.h>

static int option(int fd, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

const char *handle_type(int fd, bool between_libumbel)
{
	int domain = option(fd, SO_DOMAIN);

	if (option(fd, SO_TYPE) == SOCK_STREAM &&
	    (domain == AF_INET || domain == AF_INET6 || domain == AF_UNIX))
		return option(fd, SO_ACCEPTCONN) == 1 ? "net.Server" : "net.Socket";
	return between_libumbel ? "umbel.Fd" : NULL;
}
