'use strict';
// Another way round: each worker tells its metrics, and prometheus_collect.js adds them up.
const express = require('express');
const { Counter, register } = require('prom-client');

const requests = new Counter({ name: 'requests', help: 'requests served' });
const tell = async () => process.send({ type: 'metrics', metrics: await register.getMetricsAsJSON() });
setInterval(tell, 500).unref();

const app = express();
app.get('/', (req, res) => {
	requests.inc();
	res.send(`${process.pid}`);
});
app.listen(process.env.PORT);
