'use strict';
// listen({fd: N}) of every N from 3 to MAX, one after the other; says what each gave. 0 to 2 it keeps for saying it.
// usage: everyfd.js MAX
const fs = require('fs');
const net = require('net');

const max = Number(process.argv[2]);
const found = {};

function next(fd) {
	if (fd > max) {
		fs.writeSync(1, `found ${JSON.stringify(found)}\n`);
		process.kill(process.pid, 'SIGKILL'); // it has closed what it needs itself
	}
	const server = net.createServer();
	const done = (what) => {
		found[what] = (found[what] || 0) + 1;
		setImmediate(next, fd + 1);
	};
	server.once('error', (error) => done(error.code));
	server.listen({ fd }, () => done('listening'));
}
next(3);
