'use strict';
// Says its pid to every connection. usage: closes.js PORT FILE
// SIGUSR2: is busy until FILE is there, then closes its server. SIGHUP: leaves the cluster.
const cluster = require('cluster');
const fs = require('fs');
const net = require('net');

const [port, file] = process.argv.slice(2);
const server = net.createServer((socket) => {
	socket.on('error', () => {});
	socket.end(`${process.pid}\n`);
}).listen(Number(port));

process.on('SIGUSR2', () => {
	console.log('busy');
	while (!fs.existsSync(file))
		;
	server.close();
});
process.on('SIGHUP', () => cluster.worker.disconnect());
