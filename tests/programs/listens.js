'use strict';
// Listens as its argument says (JSON, for server.listen()) and answers each connection with its pid. An
// error is printed, and not the end of the program.
const net = require('net');

const server = net.createServer((socket) => socket.on('error', () => {}).end(`${process.pid}\n`));

server.on('error', ({ code, syscall }) => console.log(`error ${code} ${syscall}`));
server.listen(JSON.parse(process.argv[2]));
setInterval(() => {}, 1000);
