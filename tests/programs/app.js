'use strict';
// A plain http server without a word of cluster. The path says what a request wants.
const http = require('http');
const crypto = require('crypto');

const [where, host] = process.argv.slice(2);

const routes = {
	'/': (req, res) => res.end(`${process.pid}`),
	'/slow': (req, res, query) => {
		console.log('slow begins');
		setTimeout(() => res.end(`${process.pid}`), Number(query.get('ms')));
	},
	'/big': (req, res, query) => res.end(Buffer.alloc(Number(query.get('bytes')), 'umbel')),
	'/hash': (req, res) => {
		const hash = crypto.createHash('sha256');
		req.on('data', (chunk) => hash.update(chunk));
		req.on('end', () => res.end(hash.digest('hex')));
	},
	'/flood': (req, res, query) => {
		for (let i = 0; i < Number(query.get('lines')); i++)
			console.log(`flood ${i} ${'x'.repeat(80)}`);
		res.end(`${process.pid}`);
	},
	'/env': (req, res) => res.end(JSON.stringify(process.env)),
	'/exit': (req, res, query) => process.exit(Number(query.get('code'))),
	'/close': (req, res) => {
		server.close();
		res.end(`${process.pid}`);
	},
};

const server = http.createServer((req, res) => {
	const url = new URL(req.url, 'http://localhost');
	(routes[url.pathname] ?? routes['/'])(req, res, url.searchParams);
});
server.listen(/^\d+$/.test(where) ? Number(where) : where, host);
