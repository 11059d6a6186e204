'use strict';
// The worker of descriptors.c, in Node: writes into sockets it gets; {back}: and sends them back.
process.on('message', (message, socket) => {
	if (message.take) {
		socket.end(message.take, () => process.send('done'));
	} else if (message.back) {
		const half = message.back.indexOf(' and ');
		socket.write(message.back.slice(0, half), () => {
			process.send({ take: message.back.slice(half) }, socket);
		});
	} else {
		process.send('ready'); // the primary is done with what was sent back
	}
});
process.send('ready');
