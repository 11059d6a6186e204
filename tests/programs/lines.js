'use strict';
// Writes lines in pieces with pauses. usage: lines.js COUNT PAUSE_MS
const [count, pause] = process.argv.slice(2).map(Number);

async function main() {
	for (let i = 0; i < count; i++) {
		for (const piece of [`${process.pid}`, ` line ${i}`, ' of', ` ${count}\n`]) {
			process.stdout.write(piece);
			await new Promise((done) => setTimeout(done, pause));
		}
	}
	console.log('done');
	setInterval(() => {}, 1000);
}
main();
