'use strict';
// Messages there and back: "hello worker", "hello master".
const cluster = require('cluster');
const http = require('http');

if (cluster.isMaster) {
	const worker = cluster.fork();
	worker.on('message', (message) => {
		console.log(`master received: ${message}`);
	});
	worker.send('hello worker');
} else {
	process.on('message', (message) => {
		console.log(`worker ${cluster.worker.id} received: ${message}`);
	});
	process.send(`hello master, this is worker ${cluster.worker.id}`);

	http.createServer((req, res) => {
		res.end(`worker ${process.pid}\n`);
	}).listen(process.env.PORT || 3000);
}
