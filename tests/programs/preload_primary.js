'use strict';
// Node's own primary with one worker, standing in for umbel's: it hands the preload over in
// NODE_OPTIONS and tells on stdout what the worker says to it.
// usage: preload_primary.js PRELOAD|- APP [ARGS]; the user's own options are in USER_OPTIONS, if set
// SIGUSR2: drain (and a 'ping' for the app, which is read after it). SIGHUP: act: disconnect.
const cluster = require('cluster');

const [preload, exec, ...args] = process.argv.slice(2);
const words = process.env.USER_OPTIONS === undefined ? [] : [process.env.USER_OPTIONS];
delete process.env.USER_OPTIONS;
if (preload !== '-')
	words.push(`--require "${preload.replace(/[\\"]/g, '\\$&')}"`);

cluster.setupPrimary({ exec, args });
const worker = cluster.fork(words.length ? { NODE_OPTIONS: words.join(' ') } : {});
worker.process.on('internalMessage', (message) => {
	if (message.cmd.startsWith('NODE_UMBEL_'))
		console.log(`says ${message.cmd}`);
});
worker.on('message', (message) => console.log(`app says ${message}`));
worker.on('listening', ({ port, address }) => console.log(`listens on ${port > 0 ? port : address}`));
worker.on('exit', (code, signal) => {
	console.log(`exit ${signal || code}`);
	process.exit(0);
});
process.on('SIGUSR2', () => {
	worker.process.send({ cmd: 'NODE_UMBEL_DRAIN' });
	worker.send('ping');
});
process.on('SIGHUP', () => worker.disconnect());
process.on('SIGTERM', () => worker.process.kill('SIGKILL'));
