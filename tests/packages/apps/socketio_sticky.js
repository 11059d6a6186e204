'use strict';
// Socket.IO's guide for cluster: the primary keeps each client at one worker, and relays broadcasts.
const cluster = require('cluster');
const http = require('http');
const { Server } = require('socket.io');
const { setupMaster, setupWorker } = require('@socket.io/sticky');
const { createAdapter, setupPrimary } = require('@socket.io/cluster-adapter');

if (cluster.isPrimary) {
	const httpServer = http.createServer();
	setupMaster(httpServer, { loadBalancingMethod: 'least-connection' });
	setupPrimary();
	cluster.setupPrimary({ serialization: 'advanced' });
	httpServer.listen(process.env.PORT, () => console.log('the primary listens'));
	for (let i = 0; i < 2; i++)
		cluster.fork();
} else {
	const io = new Server(http.createServer());
	io.adapter(createAdapter());
	setupWorker(io);
	io.on('connection', (socket) => {
		socket.emit('pid', process.pid);
		socket.on('echo', (text, reply) => reply(text));
		socket.on('say', (text) => io.emit('said', text));
	});
}
