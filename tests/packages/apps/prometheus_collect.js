'use strict';
// umbel events NAME | PORT=9100 node prometheus_collect.js: the sum of all workers' metrics.
const http = require('http');
const { AggregatorRegistry } = require('prom-client');

const workers = new Map();
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
	const { event, id, message } = JSON.parse(line);
	if (event === 'message' && message && message.type === 'metrics')
		workers.set(id, message.metrics);
	else if (event === 'exit')
		workers.delete(id);
}).on('close', () => process.exit());

http.createServer(async (req, res) => {
	res.end(await AggregatorRegistry.aggregate([...workers.values()]).metrics());
}).listen(process.env.PORT);
