'use strict';
// Listens on a port of 127.0.0.1 and tells what it is. The message "exit N" ends it.
const cluster = require('cluster');
const net = require('net');

const server = net.createServer().listen(0, '127.0.0.1', () => {
	process.send({
		id: cluster.worker.id,
		isWorker: cluster.isWorker,
		isPrimary: cluster.isPrimary,
		env: Object.keys(process.env).filter((name) => /^NODE_(UNIQUE|CHANNEL)/.test(name)),
		port: server.address().port,
	});
});
process.on('message', (text) => process.exit(Number(text.split(' ')[1])));
