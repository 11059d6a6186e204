'use strict';
// A primary of Node's own cluster module that does what it is told: the other half of the contract
// tests, beside tests/contract/driver/, which speaks the same and is a primary of libumbel.
//
// Commands, a JSON array on each line of stdin:
//   ["setup", {exec, args, execArgv, cwd, uid, gid, silent, stdio, serialization, inspectPort, policy,
//             env, debugPort}]   the last: of this process; those of the workers count up from it
//   ["fork", {env}]   ["send", ID, JSON]   ["disconnect", ID]   ["disconnect"]   ["kill", ID, "SIGTERM"]
//   ["hand", ID, PORT, JSON]   the next connection to 127.0.0.1:PORT goes to the worker with JSON
//   ["give", ID, "server"|"udp", JSON]   a new socket on a port of 127.0.0.1 goes to the worker with JSON
//   ["pipe", ID, INDEX, TEXT]   into what settings.stdio made a pipe there
//   ["take", HOW]   what becomes of descriptors that come: close; back: to their worker, with their
//                   message; read: "data" tells what came until its end; keep: until ["release"]
//   ["show", ID]   ["workers"]   ["quit"], as the end of stdin: kills them all and ends
//   ["exit", CODE]   ["throw"]   ends as a program does that cleans up nothing
// Events, a JSON array on each line of stdout:
//   ["fork", ID]   ["online", ID]   ["listening", ID, {addressType, address, port}]
//   ["message", ID, JSON, HAS_HANDLE]   ["disconnect", ID, ASKED]   ["exit", ID, CODE, SIGNAL, ASKED]
//   ["error", ID, "CODE"]   ["disconnected"]   ["hand", ID, PORT]: listens   ["give", ID, PORT]
//   ["data", ID, TEXT]   ["pipe", ID, INDEX, TEXT]
//   ["show", ID, {connected, dead, exitedAfterDisconnect}]   ["workers", [ID...]]
const cluster = require('cluster');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');
const readline = require('readline');

const workers = new Map(); // all that ever were: cluster.workers forgets
const kept = [];
let env = {};
let take = 'close';

// Whole and in order, also right before the end.
function say(...event) {
	fs.writeSync(1, `${JSON.stringify(event)}\n`);
}

function asked(worker) {
	return Boolean(worker.exitedAfterDisconnect);
}

function quit() {
	for (const worker of workers.values())
		worker.process.kill('SIGKILL');
	process.exit(0);
}

const takers = {
	close(worker, message, handle) {
		if (handle instanceof net.Socket)
			handle.destroy();
		else
			handle.close();
	},
	back(worker, message, handle) {
		worker.send(message, handle);
	},
	read(worker, message, handle) {
		let text = '';
		handle.setEncoding('utf8');
		handle.on('data', (more) => (text += more)).on('end', () => say('data', worker.id, text));
	},
	keep(worker, message, handle) {
		kept.push(handle);
	},
};

const commands = {
	setup({ policy, env: more, debugPort, pass_fds: all, ...settings }) { // its workers may name any descriptor
		if (policy)
			cluster.schedulingPolicy = policy === 'none' ? cluster.SCHED_NONE : cluster.SCHED_RR;
		process.debugPort = debugPort ?? process.debugPort;
		env = more || env;
		cluster.setupPrimary(settings);
	},
	fork(more) {
		const worker = cluster.fork({ ...env, ...more });
		workers.set(worker.id, worker);
		worker.process.stdio.forEach((pipe, index) => pipe?.readable &&
			pipe.setEncoding('utf8').on('data', (text) => say('pipe', worker.id, index, text)));
		worker.on('error', (error) => say('error', worker.id, error.code || error.message));
	},
	send(id, message) {
		workers.get(id).send(message);
	},
	hand(id, port, message) {
		const server = net.createServer({ pauseOnConnect: true }, (socket) => {
			workers.get(id).send(message, socket);
			server.close();
		});
		server.listen(port, '127.0.0.1', () => say('hand', id, server.address().port));
	},
	give(id, kind, message) {
		const socket = kind === 'udp' ? dgram.createSocket('udp4') : net.createServer();
		const bound = () => {
			say('give', id, socket.address().port);
			workers.get(id).send(message, socket, () => socket.close());
		};
		if (kind === 'udp')
			socket.bind(0, '127.0.0.1', bound);
		else
			socket.listen(0, '127.0.0.1', bound);
	},
	pipe(id, index, text) {
		workers.get(id).process.stdio[index].write(text);
	},
	take(how) {
		take = how;
	},
	release() {
		for (const handle of kept.splice(0))
			takers.close(null, null, handle);
	},
	disconnect(id) {
		if (id)
			workers.get(id).disconnect();
		else
			cluster.disconnect(() => say('disconnected'));
	},
	kill(id, signal) {
		workers.get(id).kill(signal);
	},
	show(id) {
		const worker = workers.get(id);
		say('show', id, { connected: worker.isConnected(), dead: worker.isDead(),
			exitedAfterDisconnect: asked(worker) });
	},
	workers() {
		say('workers', Object.keys(cluster.workers).map(Number));
	},
	quit,
	exit(code) {
		process.exit(code);
	},
	throw() {
		throw new Error('as told');
	},
};

cluster.on('fork', (worker) => say('fork', worker.id));
cluster.on('online', (worker) => say('online', worker.id));
cluster.on('listening', (worker, { addressType, address, port }) =>
	say('listening', worker.id, { addressType, address, port }));
cluster.on('message', (worker, message, handle) => {
	say('message', worker.id, message, Boolean(handle));
	if (handle)
		takers[take](worker, message, handle);
});
cluster.on('disconnect', (worker) => say('disconnect', worker.id, asked(worker)));
cluster.on('exit', (worker, code, signal) => say('exit', worker.id, code, signal, asked(worker)));

readline.createInterface({ input: process.stdin, terminal: false })
	.on('line', (line) => {
		const [verb, ...args] = JSON.parse(line);
		commands[verb](...args);
	})
	.on('close', quit);
