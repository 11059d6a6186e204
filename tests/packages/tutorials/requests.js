'use strict';
// The counter of the Node documentation: workers tell the primary of each request.
const cluster = require('node:cluster');
const http = require('node:http');
const numCPUs = require('node:os').availableParallelism();

if (cluster.isPrimary) {
	// Keep track of http requests
	let numReqs = 0;
	setInterval(() => {
		console.log(`numReqs = ${numReqs}`);
	}, 1000);

	// Count requests
	function messageHandler(msg) {
		if (msg.cmd && msg.cmd === 'notifyRequest') {
			numReqs += 1;
		}
	}

	for (let i = 0; i < numCPUs; i++) {
		cluster.fork();
	}

	for (const id in cluster.workers) {
		cluster.workers[id].on('message', messageHandler);
	}
} else {
	// Worker processes have a http server.
	http.Server((req, res) => {
		res.writeHead(200);
		res.end('hello world\n');

		// Notify primary about the request
		process.send({ cmd: 'notifyRequest' });
	}).listen(process.env.PORT || 8000);
}
