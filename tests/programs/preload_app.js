'use strict';
// A server of the wanted kind on any port, which answers a 'ping' of the primary.
// usage: preload_app.js http|https|http2|http2s|net WHERE [KEY CERT]
const fs = require('fs');
const http2 = require('http2');

const [kind, where, key, cert] = process.argv.slice(2);

// Begins to answer when the request is whole: a test decides when that is.
function answer(req, res) {
	console.log(`request ${req.url}`);
	req.resume();
	if (req.url === '/begun') // the headers are on their way before the request is whole
		res.flushHeaders();
	req.on('end', () => {
		if (req.url === '/proxy')
			res.writeHead(200, { 'connection': 'Keep-Alive', 'Content-Length': 2 });
		res.end('ok');
	});
}

function echo(socket) {
	console.log('connected');
	socket.on('error', () => {});
	socket.pipe(socket);
}

const tls = key && { key: fs.readFileSync(key), cert: fs.readFileSync(cert) };
const server = {
	http: () => require('http').createServer(answer),
	https: () => require('https').createServer(tls, answer),
	http2: () => http2.createServer(answer),
	http2s: () => http2.createSecureServer({ ...tls, allowHTTP1: true }, answer),
	net: () => require('net').createServer(echo),
}[kind]();

server.keepAliveTimeout = 60000; // no test shall see Node end a connection by itself
server.on('upgrade', (req, socket) => {
	socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
	echo(socket);
});
server.listen(/^\d+$/.test(where) ? Number(where) : where);
process.on('message', (message) => {
	if (message === 'ping')
		process.send('pong');
});
