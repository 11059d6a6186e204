'use strict';
const http = require('http');
const { Server } = require('socket.io');

const server = http.createServer((req, res) => res.end(`${process.pid}`));
const io = new Server(server);
io.on('connection', (socket) => {
	socket.emit('pid', process.pid);
	socket.on('echo', (text, reply) => reply(text));
	socket.on('say', (text) => io.emit('said', text));
});
server.listen(process.env.PORT);
