'use strict';
// A TLS server that tells each connection its worker's id. usage: tls.js KEY CERTIFICATE
const cluster = require('cluster');
const fs = require('fs');
const tls = require('tls');

const [key, cert] = process.argv.slice(2).map((file) => fs.readFileSync(file));
const server = tls.createServer({ key, cert }, (socket) => {
	socket.on('error', () => {});
	socket.end(`${cluster.worker.id}\n`);
}).listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
