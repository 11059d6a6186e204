'use strict';
// Does what messages tell it, each [VERB, ARGUMENT], and says by messages what it has to say. "ready"
// comes first.
const cluster = require('cluster');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');

const self = cluster.worker;

const verbs = {
	exit: (code) => process.exit(code),
	throw: (text) => {
		throw new Error(text);
	},
	spin: () => process.send('spins', () => {
		for (;;);
	}),
	disconnect: () => self.disconnect(),
	kill: () => self.kill(),
	'destroy parted': () => self.on('disconnect', () => self.destroy()).disconnect(),
	part: () => process.disconnect(), // without a word
	show: () => process.send({ connected: self.isConnected(), dead: self.isDead(),
		exitedAfterDisconnect: Boolean(self.exitedAfterDisconnect), id: self.id }),
	env: (names) => process.send(names.map((name) => process.env[name] ?? null)),
	cwd: () => process.send(process.cwd()),
	args: () => process.send(process.argv.slice(2)),
	channel: () => process.send(process.channel.fd ?? null),
	print: (text) => {
		fs.writeSync(1, `${text}\n`);
		fs.writeSync(2, `${text}?\n`);
	},
	// An echo at a descriptor that it was born with.
	pipe: (fd) => {
		const socket = new net.Socket({ fd });
		socket.unref().on('data', (data) => socket.write(`back ${data}`));
	},
	inspect: () => process.send(process.debugPort),
	ids: () => process.send([process.getuid(), process.getgid(), process.getgroups()]),
	pid: () => process.send(process.pid),

	// What keeps it alive, or lets it end as it likes, once it has no channel any more.
	connect: (port) => net.connect(port, '127.0.0.1', () => process.send('connected'))
		.on('error', () => {}),
	// Exits with 0 if 'disconnect' came late enough: not before the primary has said that it knows.
	'disconnect and exit': () => {
		let code = 1;
		process.on('internalMessage', ({ ack }) => (code = ack === undefined ? code : 0));
		self.on('disconnect', () => process.exit(code)).disconnect();
	},
	'exit later': (code) => self.on('disconnect', () => setTimeout(() => process.exit(code), 50)),
	'exit then': (code) => self.on('disconnect', () => process.exit(code)),
	// Says when the primary has asked it to leave.
	'tell disconnect': () => process.on('internalMessage',
		({ act }) => act === 'disconnect' && process.send('asked')).send('listens'),

	serve: (port) => net.createServer((socket) => socket.on('error', () => {}).pipe(socket))
		.listen(port, '127.0.0.1'),
	bind: (port) => dgram.createSocket('udp4').bind(port, '127.0.0.1')
		.on('message', function (text, from) {
			this.send(text, from.port);
		}),
};

process.on('message', ([verb, argument]) => verbs[verb](argument));
process.send('ready');
