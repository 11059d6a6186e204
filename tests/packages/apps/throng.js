'use strict';
const http = require('http');
const throng = require('throng');

throng({
	count: 2,
	master: () => console.log('the master runs'),
	worker: (id, disconnect) => {
		const server = http.createServer((req, res) => res.end(`${process.pid}`));
		server.listen(process.env.PORT);
		process.once('SIGTERM', () => {
			console.log(`worker ${id} cleans up`);
			disconnect();
		});
	},
});
