/* A worker's bytes, through everything that reads them before anything acts: the channel's framing
 * (cut at a place the input chooses), the scanner, the codec. */
#include "base/fd.h"
#include "wire/channel.h"
#include "wire/node.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_INPUT = 32768, MAX_LINE = 4096 };

static void read_line(const char *line, size_t len)
{
	struct node_line l;
	struct node_message m;

	if (node_read_line(line, len, &l) < 0)
		return;
	assert(l.text >= line && l.text + l.len <= line + len);
	if (l.key) {
		assert(l.key >= line && l.key + l.key_len <= line + len);
		free(node_decode_string(l.key, l.key_len));
	}
	if (l.kind != NODE_LINE_INTERNAL || node_decode(l.text, l.len, &m) < 0)
		return;
	assert(m.type != NODE_CLOSE || m.key);
	assert(!m.query.is_abstract || m.query.address);
	assert(m.query.port >= -1 && m.query.port <= 65535);
	node_message_finish(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct channel c;
	int ends[2];
	char *line;
	size_t len, cut = size ? data[0] % size : 0;

	if (size > MAX_INPUT || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return 0;
	channel_open(&c, ends[0], MAX_LINE, MAX_LINE);
	for (int part = 0; part < 2; part++) {
		const uint8_t *from = part ? data + cut : data;
		size_t count = part ? size - cut : cut;
		int r = 1;

		if (count == 0)
			continue;
		assert(write(ends[1], from, count) == (ssize_t)count);
		while (channel_read(&c) > 0)
			while ((r = channel_next_line(&c, &line, &len)) == 1)
				read_line(line, len);
		if (r < 0)
			break;
	}
	channel_close(&c);
	fd_close(&ends[1]);
	return 0;
}
