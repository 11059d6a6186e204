'use strict';
// How evenly is it spread? Each worker says its pid with each request, the master counts.
const cluster = require('cluster');
const http = require('http');
const os = require('os');

const PORT = process.env.PORT || 3000;

if (cluster.isMaster) {
	const counts = {};
	console.log(`Master ${process.pid} is running`);
	os.cpus().forEach(() => {
		const worker = cluster.fork();
		worker.on('message', ({ pid }) => {
			counts[pid] = (counts[pid] || 0) + 1;
			console.log(counts);
		});
	});
} else {
	http.createServer((req, res) => {
		process.send({ pid: process.pid });
		res.end(`Hello from worker ${process.pid}\n`);
	}).listen(PORT, () => console.log(`Worker ${process.pid} listening on ${PORT}`));
}
