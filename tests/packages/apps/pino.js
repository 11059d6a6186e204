'use strict';
// Logs by a transport: a worker thread that writes to stdout itself.
const http = require('http');
const logger = require('pino')({
	transport: { target: 'pino/file', options: { destination: 1 } },
});

http.createServer((req, res) => {
	logger.info({ url: req.url }, 'request');
	res.end(`${process.pid}`);
}).listen(process.env.PORT, () => logger.info('listening'));

// Its last lines are flushed on 'exit', which a signal without a handler would skip.
process.on('SIGTERM', () => process.exit(0));
