'use strict';
// messages.c with Node on both sides.
const cluster = require('cluster');

const WINDOW = 64;

if (cluster.isPrimary) {
	const text = 'x'.repeat(98); // 100 bytes of JSON
	const worker = cluster.fork();
	let toSend = 0, toCome = 0;

	const sendOne = () => {
		if (toSend > 0) {
			toSend--;
			worker.send(text);
		}
	};
	worker.on('message', (message) => {
		if (message === 'here') {
			console.log('listens');
			return;
		}
		sendOne();
		if (--toCome === 0)
			console.log('done');
	});
	process.stdin.on('data', (line) => {
		toSend = toCome = Number(line);
		for (let i = 0; i < WINDOW; i++)
			sendOne();
	});
	process.stdin.on('end', () => process.exit());
} else {
	process.on('message', (message) => process.send(message));
	process.send('here');
}
