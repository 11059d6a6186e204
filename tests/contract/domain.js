'use strict';
// Listens inside a domain and says where; a connection is told the worker's id.
const cluster = require('cluster');
const domain = require('domain');
const net = require('net');

domain.create().run(() => {
	const server = net.createServer((socket) => socket.end(`${cluster.worker.id}\n`));
	server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
});
