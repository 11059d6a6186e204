'use strict';
// The HTTP server of keepalive.c in Node, without a word of cluster: answers every request with its pid.
//
//     node keepalive.js PORT [DELAY_MS]
//
// With TORTURE_LOG, a directory, it counts in the file TORTURE_LOG/PID how many connections it took and
// how many it finished, two 64-bit numbers; a kill -9 leaves them there.
const fs = require('fs');
const http = require('http');

const [port, delay = 0] = process.argv.slice(2).map(Number);

const tally = new BigUint64Array(2); // taken, finished
const log = process.env.TORTURE_LOG && fs.openSync(`${process.env.TORTURE_LOG}/${process.pid}`, 'w');
const TAKEN = 0;
const FINISHED = 1;

function count(which) {
	tally[which]++;
	if (log)
		fs.writeSync(log, tally, 0, tally.byteLength, 0);
}

// A connection is taken when Node says so to the primary (`accepted`), which is before our server hears
// of it: so we look at the message before Node does, and after.
let announced = 0;
process.prependListener('internalMessage', (message) => {
	if (message?.act === 'newconn') {
		announced++;
		count(TAKEN);
	}
});
process.on('internalMessage', (message) => {
	if (message?.act === 'newconn' && announced > 0) { // refused
		announced--;
		count(FINISHED);
	}
});

const server = http.createServer((req, res) => {
	if (delay > 0)
		setTimeout(() => res.end(`${process.pid}\n`), delay);
	else
		res.end(`${process.pid}\n`);
});
server.on('connection', (socket) => {
	if (announced > 0)
		announced--;
	else
		count(TAKEN);
	socket.on('close', () => count(FINISHED));
});
server.keepAliveTimeout = 60000; // the client ends connections, or the end of the worker does
server.listen(port);
