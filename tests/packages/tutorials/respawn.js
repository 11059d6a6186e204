'use strict';
// Workers that die are forked again.
const cluster = require('cluster');
const http = require('http');
const numCPUs = require('os').cpus().length;

if (cluster.isMaster) {
	console.log(`Setting up ${numCPUs} workers...`);
	for (let i = 0; i < numCPUs; i++) {
		cluster.fork();
	}
	cluster.on('online', (worker) => {
		console.log(`Worker ${worker.process.pid} is online`);
	});
	cluster.on('exit', (worker, code, signal) => {
		console.log(`Worker ${worker.process.pid} died with code: ${code}, and signal: ${signal}`);
		console.log('Starting a new worker');
		cluster.fork();
	});
} else {
	http.createServer((req, res) => {
		if (req.url === '/crash') {
			process.exit(1);
		}
		if (req.url === '/kill') {
			cluster.worker.kill();
			res.end(`Process ${process.pid} says good bye\n`);
			return;
		}
		res.end(`Process ${process.pid} says hello!\n`);
	}).listen(process.env.PORT || 8000);
}
