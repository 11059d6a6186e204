'use strict';
// As health.py.
const fs = require('fs');
const http = require('http');

const [host, port, directory] = process.argv.slice(2);

http.createServer((req, res) => {
	const well = fs.existsSync(`${directory}/ok.${process.env.UMBEL_WORKER}`);
	res.statusCode = well || req.url !== '/health' ? 200 : 503;
	res.end(`${process.pid}`);
	if (req.url === '/health')
		console.log(well ? 'is well' : 'is not well yet');
}).listen(Number(port), host);
