'use strict';
// node ws_client.js URL: sends each line of stdin, prints each message, and at last "closed CODE".
const WebSocket = require('ws');

const ws = new WebSocket(process.argv[2]);
ws.on('message', (data) => console.log(`${data}`));
ws.on('error', (error) => console.log(`error ${error.message}`));
ws.on('close', (code) => {
	console.log(`closed ${code}`);
	process.exit();
});
require('readline').createInterface({ input: process.stdin })
	.on('line', (line) => ws.send(line))
	.on('close', () => ws.close());
