'use strict';
// uneven.c in Node: one thing at a time, and in one slot that takes longer. Sleeps, answers with its pid.
//
//     node uneven.js PORT MS SLOT SLOT_MS
const http = require('http');

const [port, ms, slot, slotMs] = process.argv.slice(2).map(Number);
const pause = Number(process.env.UMBEL_SLOT) === slot ? slotMs : ms;
const never = new Int32Array(new SharedArrayBuffer(4));

http.createServer((req, res) => {
	Atomics.wait(never, 0, 0, pause); // the whole process does
	res.setHeader('Connection', 'close');
	res.end(`${process.pid}\n`);
}).listen(port);
