'use strict';
// uneven.c in Node: one thing at a time, and in one slot that takes longer. Here it is CPU time, by which a
// primary can tell a slow Node worker.
//
//     node uneven.js PORT MS SLOT SLOT_MS
const http = require('http');

const [port, ms, slot, slotMs] = process.argv.slice(2).map(Number);
const pauseUs = 1000 * (Number(process.env.UMBEL_SLOT) === slot ? slotMs : ms);

function usedUs() {
	const {user, system} = process.cpuUsage();
	return user + system;
}

http.createServer((req, res) => {
	for (const began = usedUs(); usedUs() - began < pauseUs;)
		;
	res.setHeader('Connection', 'close');
	res.end(`${process.pid}\n`);
}).listen(port);
