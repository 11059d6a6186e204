'use strict';
// Does what it is told, a step at a time, and says what came of each: so that most scenarios are
// written in one place. First it says "hello"; then each message is a step and has one answer.
//
// Steps for a server (NAME is the test's word for it):
//   ["listen", NAME, LISTEN_OPTIONS, {http, hold, closeAtOnce, maxConnections, dropMaxConnection}]
//       -> {listening: address(), remote?} or {error: code, syscall, address, port}
//       LISTEN_OPTIONS: of server.listen(); null: none at all. A connection is told the worker's id and
//       ended (hold: kept); http: answered with the id and whether its remote address is known.
//   ["close", NAME] -> {closed: NAME}     ["closing", NAME, FILE] -> "closing", then busy until FILE is
//       there, then close()               ["forget", NAME] -> {}: ends the connections that are held
//   ["ref", NAME] ["unref", NAME] ["ref-twice", NAME] -> {}     ["count", NAME] -> {connections, drops}
// Steps for UDP: a packet is answered with the worker's id.
//   ["bind", NAME, SOCKET_OPTIONS, BIND_OPTIONS, {limit, closeAtOnce, closeFirst, unref}]
//       -> {listening: address()} or {error: ...}; limit: closed after so many packets, {enough: NAME}
//   ["again", NAME, BIND_OPTIONS] -> the same: bind() of the same socket
//   ["packet", NAME, PORT] -> {}: sends the worker's id there; a socket that is new is not bound first
// Others: ["leave"] cluster.worker.disconnect()     ["part"] process.disconnect()
//         ["unref-channel"] -> {}                   ["exit", CODE]
const cluster = require('cluster');
const dgram = require('dgram');
const fs = require('fs');
const http = require('http');
const net = require('net');

const { id } = cluster.worker;
const things = {}; // servers and sockets by name
const held = {}; // lists of connections by name

function say(value) {
	process.send(value);
}

// One answer, whichever comes first.
function tell(thing, event) {
	const answer = (value) => {
		thing.removeListener('error', onError);
		thing.removeListener(event, onDone);
		say(value);
	};
	const onError = ({ code, syscall, address, port }) => answer({ error: code, syscall, address, port });
	const onDone = () => answer({ listening: thing.address() });
	thing.once('error', onError).once(event, onDone);
}

function serve(name, options) {
	held[name] = [];
	if (options.http)
		return http.createServer((request, response) => {
			response.setHeader('Connection', 'close');
			response.end(`${id} ${request.socket.remoteAddress ? 'known' : 'unknown'}`);
		});
	return net.createServer((socket) => {
		held[name].push(socket);
		socket.on('error', () => {}).resume();
		if (options.hold)
			socket.write(`${id}\n`);
		else
			socket.end(`${id}\n`);
	});
}

const steps = {
	listen(name, where, options = {}) {
		const server = things[name] = serve(name, options);
		for (const key of ['maxConnections', 'dropMaxConnection'])
			if (key in options)
				server[key] = options[key];
		server.drops = 0;
		server.on('drop', () => server.drops++);
		tell(server, 'listening');
		if (options.closeAtOnce)
			server.once('listening', () => server.close());
		if (where)
			server.listen(where);
		else
			server.listen();
	},
	close(name) {
		things[name].close(() => say({ closed: name }));
	},
	closing(name, file) {
		say('closing');
		// The answer is to be written before this is busy.
		setImmediate(() => {
			while (!fs.existsSync(file))
				;
			things[name].close();
		});
	},
	forget(name) {
		held[name].forEach((socket) => socket.destroy());
		say({});
	},
	ref(name) {
		things[name].ref();
		say({});
	},
	unref(name) {
		things[name].unref();
		say({});
	},
	'ref-twice'(name) {
		things[name].unref();
		things[name].ref();
		things[name].ref();
		say({});
	},
	count(name) {
		things[name].getConnections((error, connections) =>
			say({ connections, drops: things[name].drops }));
	},
	bind(name, socketOptions, bindOptions, options = {}) {
		const socket = things[name] = dgram.createSocket(socketOptions);
		let left = options.limit || Infinity;
		socket.on('message', (text, from) => {
			const last = --left === 0;
			socket.send(`${id}`, from.port, from.address, () => {
				if (last)
					socket.close(() => say({ enough: name }));
			});
		});
		if (options.unref)
			socket.unref();
		if (options.closeFirst)
			socket.once('close', () => say({ closed: name }));
		else
			tell(socket, 'listening');
		if (options.closeAtOnce)
			socket.once('listening', () => socket.close());
		socket.bind(bindOptions);
		if (options.closeFirst)
			socket.close();
	},
	again(name, bindOptions) {
		tell(things[name], 'listening');
		things[name].bind(bindOptions);
	},
	packet(name, port) {
		things[name] = things[name] || dgram.createSocket('udp4');
		things[name].send(`${id}`, port, '127.0.0.1', () => say({}));
	},
	leave() {
		cluster.worker.disconnect();
	},
	part() {
		process.disconnect();
	},
	'unref-channel'() {
		process.channel.unref();
		say({});
	},
	exit(code) {
		process.exit(code);
	},
};

process.on('message', ([verb, ...args]) => steps[verb](...args));
say('hello');
