'use strict';
// Cannot listen on PORT: leaves, and throws the error if it is not to do it quietly.
const cluster = require('cluster');
const http = require('http');

const [port, quietly] = process.argv.slice(2);

http.createServer().listen(Number(port), '127.0.0.1').on('error', (error) => {
	cluster.worker.disconnect();
	if (!quietly)
		throw error;
});
