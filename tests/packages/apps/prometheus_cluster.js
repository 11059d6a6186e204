'use strict';
// example/cluster.js of prom-client: the primary serves what it has asked its workers for.
const cluster = require('cluster');
const express = require('express');
const { AggregatorRegistry, Counter } = require('prom-client');

if (cluster.isPrimary) {
	for (let i = 0; i < 2; i++)
		cluster.fork();
	const registry = new AggregatorRegistry();
	const metrics = express();
	metrics.get('/cluster_metrics', async (req, res) => {
		res.set('Content-Type', registry.contentType);
		res.send(await registry.clusterMetrics());
	});
	metrics.listen(process.env.METRICS_PORT);
} else {
	const registry = new AggregatorRegistry();
	const requests = new Counter({ name: 'requests', help: 'requests served' });
	const app = express();
	app.get('/', (req, res) => {
		requests.inc();
		res.send(`${process.pid}`);
	});
	// Not in the example: what somebody tries next.
	app.get('/cluster_metrics', async (req, res) => res.send(await registry.clusterMetrics()));
	app.listen(process.env.PORT);
}
