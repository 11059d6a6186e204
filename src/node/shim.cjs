'use strict';
// Lets Node's own cluster module have a C program with libumbel as its worker:
//
//	cluster.setupPrimary({ exec: '.../umbel-shim.cjs', args: [program, ...arguments] });
//
// From Node 22.15 on, when the channel is a standard stream (stdio: ['ipc', 'inherit', 'inherit']),
// this process becomes the program. Otherwise it starts the program and waits: worker.process.pid
// is then this process, whose death is the program's too, at once and whatever the signal was:
// worker.kill() does not drain, worker.disconnect() does. Where the primary can be changed,
// `process.execPath = program` needs no shim.

const { accessSync, constants, readFileSync, statSync } = require('fs');
const { spawnSync } = require('child_process');
const { constants: { signals } } = require('os');
const { join } = require('path');
const { isatty } = require('tty');

// What Node has taken out of process.env; the kernel still has it.
function initialEnvironment(name) {
	try {
		const entries = readFileSync('/proc/self/environ', 'latin1').split('\0');
		return entries.find((entry) => entry.startsWith(name + '='))?.slice(name.length + 1);
	} catch {
		return undefined; // no /proc
	}
}

function isProgram(path) {
	try {
		accessSync(path, constants.X_OK);
		return statSync(path).isFile();
	} catch {
		return false;
	}
}

function find(name) {
	if (name.includes('/'))
		return isProgram(name) ? name : undefined;
	const folders = (process.env.PATH ?? '').split(':');
	return folders.map((folder) => join(folder || '.', name)).find(isProgram);
}

function environment(fd) {
	const id = initialEnvironment('NODE_UNIQUE_ID') ?? require('cluster').worker.id;
	const mode = initialEnvironment('NODE_CHANNEL_SERIALIZATION_MODE') ?? 'json';
	return {
		...process.env,
		NODE_CHANNEL_FD: String(fd),
		NODE_UNIQUE_ID: String(id),
		NODE_CHANNEL_SERIALIZATION_MODE: mode,
	};
}

// No turn of the loop until it is over: nothing of the channel is read here.
function start(program, args, channel) {
	const stdio = channel > 2 ? [0, 1, 2, channel] : [0, 1, 2];
	const env = { ...environment(Math.min(channel, 3)), UMBEL_SHIM: String(process.pid) };
	// A terminal sends these to the program as well, which then ends as it likes.
	if (isatty(0) || isatty(1) || isatty(2))
		for (const signal of ['SIGINT', 'SIGQUIT', 'SIGHUP'])
			process.on(signal, () => {});
	const { error, status, signal } = spawnSync(program, args, { stdio, env });
	if (error) {
		console.error(`umbel-shim: cannot start ${program}: ${error.code}`);
		process.exit(127);
	}
	if (signal) {
		process.removeAllListeners(signal);
		process.kill(process.pid, signal);
	}
	process.exit(status ?? 128 + signals[signal]);
}

function main() {
	const [program, ...args] = process.argv.slice(2);
	const channel = process.channel?.fd;
	if (program === undefined || channel === undefined) {
		console.error("umbel-shim: is for cluster.setupPrimary({ exec: '.../umbel-shim.cjs', args: [program, ...] })");
		process.exit(2);
	}
	const path = find(program);
	if (path && process.execve && channel <= 2) // it closes all others
		process.execve(path, [program, ...args], environment(channel));
	start(program, args, channel);
}

main();
