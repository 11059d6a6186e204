'use strict';
// A way round: each worker has a port of its own for its metrics, which counts up with the slot.
// In a reload the successor waits until its predecessor has gone.
const express = require('express');
const { Counter, register } = require('prom-client');

const { PORT, METRICS_PORT, UMBEL_SLOT } = process.env;
register.setDefaultLabels({ worker: UMBEL_SLOT });
const requests = new Counter({ name: 'requests', help: 'requests served' });

const app = express();
app.get('/', (req, res) => {
	requests.inc();
	res.send(`${process.pid}`);
});
app.listen(PORT, () => {
	const server = require('http').createServer(async (req, res) => res.end(await register.metrics()));
	const listen = () => server.listen({ port: Number(METRICS_PORT) + Number(UMBEL_SLOT), exclusive: true });
	server.on('error', () => setTimeout(listen, 200)).unref();
	listen();
});
