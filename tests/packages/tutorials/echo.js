'use strict';
// The echo of the Node documentation: a worker that listens nowhere.
const cluster = require('node:cluster');

if (cluster.isPrimary) {
	const worker = cluster.fork();
	worker.send('hi there');
} else if (cluster.isWorker) {
	process.on('message', (msg) => {
		process.send(msg);
	});
}
