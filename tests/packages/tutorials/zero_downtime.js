'use strict';
// A restart without downtime, on SIGUSR2, and workers that shut down gracefully.
const cluster = require('cluster');
const http = require('http');
const os = require('os');

if (cluster.isPrimary) {
	os.cpus().forEach(() => cluster.fork());

	cluster.on('exit', (worker, code) => {
		if (code !== 0 && !worker.exitedAfterDisconnect) {
			console.log(`Worker ${worker.process.pid} crashed. Starting a new worker`);
			cluster.fork();
		}
	});

	process.on('SIGUSR2', () => {
		const workers = Object.keys(cluster.workers);

		function restartWorker(i) {
			if (i >= workers.length) return;
			const worker = cluster.workers[workers[i]];
			console.log(`Stopping worker: ${worker.process.pid}`);
			worker.disconnect();
			worker.on('exit', () => {
				if (!worker.exitedAfterDisconnect) return;
				const newWorker = cluster.fork();
				newWorker.on('listening', () => restartWorker(i + 1));
			});
		}
		restartWorker(0);
	});
} else {
	const server = http.createServer((req, res) => {
		res.end(`Hello from pid ${process.pid}\n`);
	});
	server.listen(process.env.PORT || 8080, () => {
		console.log(`Started at ${process.pid}`);
	});

	process.on('SIGTERM', () => {
		console.log(`${process.pid}: SIGTERM received, closing`);
		server.close(() => {
			console.log(`${process.pid}: closed, exiting`);
			process.exit(0);
		});
	});
}
