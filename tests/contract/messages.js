'use strict';
// Sends what it is told, and says how that went. Each message is [VERB, ARGUMENT]; "ready" comes first.
const cluster = require('cluster');
const net = require('net');

// A server that is its own, for its handle.
function open(then) {
	const server = net.createServer();
	server.listen({ port: 0, host: '127.0.0.1', exclusive: true }, () => then(server));
}

const verbs = {
	echo: (value) => process.send(value),
	callback: (value) => process.send(value, (error) => process.send({ error })),
	// What send() returns for three descriptors at once, and what its callbacks get.
	three: () => open((server) => {
		const returned = [1, 2, 3].map((n) => process.send(n, server));
		process.send({ returned }, () => server.close());
	}),
	// The descriptor belongs to the second.
	between: () => open((server) => {
		process.send('one');
		process.send('two', server);
		process.send('three', () => server.close());
	}),
	// After the end of the channel; its exit code says what came of it.
	'send after close': () => cluster.worker.on('disconnect', () => process.send('too late',
		(error) => process.exit(error?.code === 'ERR_IPC_CHANNEL_CLOSED' ? 42 : 1))).disconnect(),
	// Both 'message' events of a worker, and 'error' of its channel, which both hear of.
	events: () => {
		const heard = [];
		cluster.worker.on('error', ({ message }) => heard.push(`worker ${message}`));
		process.on('error', ({ message }) => heard.push(`process ${message}`));
		process.emit('error', new Error('made up'));
		cluster.worker.once('message', ([verb]) => process.send([...heard, `worker ${verb}`]));
	},
	none: () => {},
	raw: (messages) => messages.forEach((message) => process.send(message)),
};

process.on('message', ([verb, argument]) => verbs[verb](argument));
process.send('ready');
