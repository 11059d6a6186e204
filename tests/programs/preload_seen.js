'use strict';
// Prints what a program can see of its surroundings, from the main thread, from a worker thread
// and from two kinds of children; leaves the cluster and ends by itself.
const childProcess = require('child_process');
const { Worker, isMainThread } = require('worker_threads');

const look = (who) => console.log(`${who} ${JSON.stringify({
	options: process.env.NODE_OPTIONS === undefined ? null : process.env.NODE_OPTIONS,
	execArgv: process.execArgv,
	listeners: ['message', 'disconnect', 'exit', 'newListener'].map((e) => process.listenerCount(e)),
	canSend: isMainThread && typeof process.send,
	modules: Object.keys(require.cache).length,
})}`);

if (!isMainThread) {
	look('thread');
} else if (process.argv[2]) {
	look(process.argv[2]);
} else {
	look('main');
	const next = ([first, ...rest]) => {
		if (first)
			first().on('exit', () => next(rest));
		else
			process.disconnect();
	};
	const inherit = { stdio: 'inherit' };
	next([
		() => new Worker(__filename),
		() => new Worker(__filename, { env: process.env }),
		() => childProcess.fork(__filename, ['forked']),
		() => childProcess.spawn(process.execPath, [__filename, 'spawned'], inherit),
	]);
}
