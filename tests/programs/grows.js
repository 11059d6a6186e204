'use strict';
// Answers with its pid. A request for /grow?mib=N makes it larger by so much, for ever.
//
//     node grows.js PORT
const http = require('http');

const kept = [];

http.createServer((req, res) => {
	const url = new URL(req.url, 'http://localhost');
	if (url.pathname === '/grow')
		kept.push(Buffer.alloc(Number(url.searchParams.get('mib')) << 20, 1)); // written: resident
	res.end(`${process.pid}`);
}).listen(Number(process.argv[2]));
