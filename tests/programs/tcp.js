'use strict';
// Says its pid to every connection and keeps it. usage: tcp.js PORT [MAX], MAX connections in slot 1.
const net = require('net');

const [port, max] = process.argv.slice(2);
const server = net.createServer((socket) => {
	socket.on('error', () => {});
	socket.write(`${process.pid}\n`);
	socket.resume();
});
if (max && process.env.NODE_APP_INSTANCE === '0')
	server.maxConnections = Number(max);
server.listen(Number(port));
