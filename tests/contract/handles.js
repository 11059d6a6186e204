'use strict';
// Takes descriptors and sends them. Each message is [VERB, ARGUMENT], with a descriptor for the first
// verbs; "ready" comes first.
const http = require('http');
const net = require('net');

const hello = `hello from ${process.env.NAME || 'the worker'}`;
const web = http.createServer((request, response) => response.end(hello));
let server; // what "serve" has opened

const local = { port: 0, host: '127.0.0.1' };

// What becomes of a connection to the server.
const ways = {
	send: (socket) => process.send('sent', socket),
	twice: (socket) => {
		process.send('first', socket);
		process.send('second', socket);
	},
	'keep open': (socket) => process.send('kept open', socket, { keepOpen: true }),
	swap: (socket) => process.send(['greet'], socket), // comes back as such
};

const verbs = {
	greet: (_, socket) => socket.end(hello),
	http: (_, socket) => {
		web.emit('connection', socket);
		socket.resume();
	},
	back: (value, socket) => process.send(value, socket),
	accept: (_, listener) => {
		listener.on('connection', (socket) => socket.end(hello)).unref();
		process.send('accepts');
	},
	receive: (_, socket) => {
		socket.unref().on('message', (text, { port, address }) => socket.send(hello, port, address));
		process.send('receives');
	},
	what: (_, handle) => {
		process.send(handle ? handle.constructor.name : null);
		handle?.close();
	},

	serve: (way) => {
		let last;
		server = net.createServer((socket) => ways[way](last = socket)).listen(local);
		verbs.end = () => last.end(hello);
	},
	'serve http': () => (server = http.createServer().on('upgrade', (request, socket) =>
		process.send('upgraded', socket)).listen(local)),
	count: () => server.getConnections((error, count) => process.send({ error, count })),
	'close server': () => server.close(() => process.send('closed')),
	// A connected socket, from whose other side comes what is asked for.
	pair: (text) => net.createServer(function (socket) {
		socket.end(text);
		this.close();
	}).listen({ ...local, exclusive: true }, function () {
		const socket = net.connect(this.address().port, local.host, () => process.send('pair', socket));
	}),
};

process.on('message', ([verb, argument], handle) => verbs[verb](argument, handle));
process.send('ready');
