'use strict';
// Sends one connected socket, at once, and leaves.
const cluster = require('cluster');
const net = require('net');

net.createServer(function (socket) {
	socket.end(`from ${cluster.worker.id}`);
	this.close();
}).listen({ port: 0, host: '127.0.0.1', exclusive: true }, function () {
	const socket = net.connect(this.address().port, '127.0.0.1', () =>
		process.send('passed', socket, () => cluster.worker.disconnect()));
});
