'use strict';
// The echo server of the README of ws, beside a plain page.
const http = require('http');
const { WebSocketServer } = require('ws');

const server = http.createServer((req, res) => res.end(`${process.pid}`));
const wss = new WebSocketServer({ server });
wss.on('connection', (ws) => {
	ws.on('error', console.error);
	ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
	ws.send(`${process.pid}`);
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => {
	wss.clients.forEach((ws) => ws.close(1001, 'going away'));
	server.close(() => process.exit(0));
});
