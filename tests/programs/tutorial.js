'use strict';
// The cluster program of every tutorial. Run as a worker, its first branch must never run.
const cluster = require('cluster');
const http = require('http');

const port = Number(process.argv[2]);

if (cluster.isMaster) {
	console.log(`Master ${process.pid} is running`);
	for (let i = 0; i < 3; i++) {
		const worker = cluster.fork();
		worker.on('message', (message) => console.log('master got', message));
		worker.send({ hello: 'worker' });
	}
	cluster.on('exit', (worker) => {
		console.log(`worker ${worker.process.pid} died`);
		cluster.fork();
	});
} else {
	let served = 0;
	process.on('message', (message) => console.log('worker got', message));
	process.send({ starting: process.pid });
	http.createServer((req, res) => {
		process.send({ cmd: 'notifyRequest', served: ++served });
		if (req.url === '/who')
			res.end(JSON.stringify({
				isMaster: cluster.isMaster, isPrimary: cluster.isPrimary,
				isWorker: cluster.isWorker, id: cluster.worker.id,
				connected: cluster.worker.isConnected(),
			}));
		else
			res.end(`${process.pid}`);
	}).listen(port);
	console.log(`Worker ${process.pid} started`);
}
