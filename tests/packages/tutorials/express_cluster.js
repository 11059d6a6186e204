'use strict';
// Express on every core, all in one file.
const cluster = require('cluster');
const express = require('express');
const os = require('os');

cluster.schedulingPolicy = cluster.SCHED_RR;

const PORT = process.env.PORT || 3000;
const totalCPUs = os.cpus().length;

if (cluster.isPrimary) {
	console.log(`Number of CPUs is ${totalCPUs}`);
	console.log(`Primary ${process.pid} is running`);

	for (let i = 0; i < totalCPUs; i++) {
		cluster.fork();
	}

	cluster.on('exit', (worker, code, signal) => {
		console.log(`worker ${worker.process.pid} died`);
		console.log("Let's fork another worker!");
		cluster.fork();
	});
} else {
	startExpress();
}

function startExpress() {
	const app = express();
	console.log(`Worker ${process.pid} started`);

	app.get('/', (req, res) => {
		res.send(`Hello World from ${process.pid}!`);
	});

	app.get('/api/:n', (req, res) => {
		let n = parseInt(req.params.n);
		let count = 0;
		if (n > 5000000000) n = 5000000000;
		for (let i = 0; i <= n; i++) {
			count += i;
		}
		res.send(`Final count is ${count}`);
	});

	app.listen(PORT, () => {
		console.log(`App listening on port ${PORT}`);
	});
}
