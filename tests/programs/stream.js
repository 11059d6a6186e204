'use strict';
// The worker of stream.c, in Node. usage: stream.js COUNT BYTES
const [count, bytes] = process.argv.slice(2).map(Number);
let sent = 0, written = 0, received = 0;

function compose(n) {
	const head = `{"n":${n},"x":"`;
	return { n, x: String.fromCharCode(97 + n % 26).repeat(bytes - head.length - 2) };
}

function finishWhenDone() {
	// process.disconnect() drops what is not written yet.
	if (written === count && received === count) {
		console.log(`worker: over, ${sent} sent, ${received} received`);
		process.disconnect();
	}
}

function sendMore() {
	while (sent < count)
		if (!process.send(compose(sent++), onWritten))
			return; // enough is queued here for now
}

function onWritten() {
	if (++written === sent)
		sendMore();
	finishWhenDone();
}

process.on('message', (message) => {
	const wanted = compose(received++);
	if (message.n !== wanted.n || message.x !== wanted.x) {
		console.log(`worker: a wrong message: ${JSON.stringify(message).slice(0, 100)}`);
		process.exit(1);
	}
	finishWhenDone();
});
sendMore();
