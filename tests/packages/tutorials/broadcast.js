'use strict';
// A cache that all workers share: who sets a value tells the primary, which tells all.
const cluster = require('cluster');
const express = require('express');

if (cluster.isPrimary) {
	for (let i = 0; i < 2; i++) {
		cluster.fork();
	}
	cluster.on('message', (worker, message) => {
		for (const id in cluster.workers) {
			cluster.workers[id].send(message);
		}
	});
} else {
	let value = 'nothing';
	process.on('message', (message) => {
		value = message.value;
	});

	const app = express();
	app.get('/', (req, res) => res.send(`${process.pid} ${value}`));
	app.get('/set/:value', (req, res) => {
		process.send({ value: req.params.value });
		res.send('set');
	});
	app.listen(process.env.PORT || 3000);
}
