'use strict';
// work: a piece of work that costs CPU and nothing else; always the same, so that a second worker on a
// busy machine shows what it really adds.
//
//	node work.js calibrate MS     how much work costs so many milliseconds here
//	node work.js loop WORK S      does it over and over for S seconds; prints "done" and how often

const work = (amount) => {
	let x = 1;
	for (let i = 0; i < amount; i++)
		x = Math.imul(x, 1664525) + 1013904223 | 0;
	return x;
};

const timesIn = (amount, seconds) => {
	const end = process.hrtime.bigint() + BigInt(Math.round(seconds * 1e9));
	let times = 0;
	for (; process.hrtime.bigint() < end; times++)
		work(amount);
	return times;
};

const calibrate = (ms) => {
	const amount = 1e6, best = [];
	work(amount); // lets the compiler see it
	for (let i = 0; i < 20; i++) {
		const begin = process.hrtime.bigint();
		work(amount);
		best.push(Number(process.hrtime.bigint() - begin) / 1e6);
	}
	return Math.round(amount * ms / Math.min(...best));
};

module.exports = work;
if (require.main === module) {
	const [how, first, second] = process.argv.slice(2);
	if (how === 'loop')
		console.log(`done ${timesIn(Number(first), Number(second))}`);
	else
		console.log(calibrate(Number(first)));
}
