'use strict';
// Node's own cluster module as the primary of a C program. Commands come as JSON arrays on stdin, one
// for each line; what happens goes to stdout the same way.
//
//     node_primary.js WAY SHIM PROGRAM [ARG...]     WAY: execPath, shim, or execve (the shim, with the
//                                                   channel as stdin); SETTINGS: more of them, JSON
// Commands: ["fork"], ["send",ID,JSON], ["hand",ID,TYPE,JSON], ["disconnect",ID], ["disconnect"],
// ["kill",ID,SIGNAL], ["respawn"], ["descriptors"], ["close"].
// A socket that a worker sends is answered, a server's connections and a udp socket's messages too.
const cluster = require('cluster');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');

const [way, shim, program, ...args] = process.argv.slice(2);
const settings = { execArgv: [], ...JSON.parse(process.env.SETTINGS ?? '{}') };
if (way === 'execPath') {
	process.execPath = program;
	Object.assign(settings, { exec: args[0], args: args.slice(1) });
} else {
	Object.assign(settings, { exec: shim, args: [program, ...args] });
}
if (way === 'execve')
	settings.stdio = ['ipc', 'inherit', 'inherit'];
cluster.setupPrimary(settings);

let respawns = false;
const say = (...words) => fs.writeSync(1, JSON.stringify(words) + '\n');

cluster.on('online', ({ id, process }) => say('online', id, process.pid));
cluster.on('listening', ({ id }, address) => say('listening', id, address));
cluster.on('disconnect', ({ id, exitedAfterDisconnect }) => say('disconnect', id, exitedAfterDisconnect));
cluster.on('exit', ({ id, exitedAfterDisconnect }, code, signal) => {
	say('exit', id, code, signal, exitedAfterDisconnect);
	if (respawns && !exitedAfterDisconnect)
		cluster.fork();
});
cluster.on('message', ({ id }, message, handle) => {
	say('message', id, message, handle ? handle.constructor.name : null);
	if (handle instanceof net.Socket)
		handle.end('from the primary');
	if (handle instanceof net.Server)
		handle.on('connection', (socket) => socket.end('from the primary'));
	if (handle instanceof dgram.Socket)
		handle.on('message', (text, { port, address }) => handle.send('from the primary', port, address));
});

// The connection that comes next, or the server or udp socket itself, goes to the worker.
const hand = {
	socket(worker, message) {
		const server = net.createServer({ pauseOnConnect: true }, (socket) => {
			worker.send(message, socket);
			server.getConnections((error, count) => say('connections', count));
			server.close(() => say('closed'));
		});
		server.listen(0, '127.0.0.1', () => say('port', server.address().port));
	},
	server(worker, message) {
		const server = net.createServer().listen(0, '127.0.0.1', () => {
			say('port', server.address().port);
			worker.send(message, server, () => server.close(() => say('closed')));
		});
	},
	udp(worker, message) {
		const socket = dgram.createSocket('udp4').bind({ port: 0, address: '127.0.0.1', exclusive: true }, () => {
			say('port', socket.address().port);
			worker.send(message, socket, () => socket.close(() => say('closed')));
		});
	},
};

const commands = {
	fork: () => cluster.fork(),
	send: (id, message) => cluster.workers[id].send(message),
	hand: (id, type, message) => hand[type](cluster.workers[id], message),
	disconnect: (id) => (id ? cluster.workers[id] : cluster).disconnect(),
	kill: (id, signal) => cluster.workers[id].kill(signal),
	respawn: () => (respawns = true),
	descriptors: () => say('descriptors', fs.readdirSync('/proc/self/fd').length - 1),
	close: () => input.close(),
};

const input = require('readline').createInterface({ input: process.stdin });
input.on('line', (line) => {
	const [command, ...words] = JSON.parse(line);
	commands[command](...words);
});
input.on('close', () => process.stdin.destroy());
