'use strict';
// Sessions in this worker's memory: a client is answered how often it was here, as long as it comes to the
// same worker. One whose cookie is not known here begins anew.
//
//     counter.js PORT            all workers share it
//     counter.js PORT,PORT,...   each slot has one of its own
const crypto = require('crypto');
const http = require('http');

const ports = process.argv[2].split(',').map(Number);
const port = ports.length > 1 ? ports[process.env.UMBEL_SLOT - 1] : ports[0];
const sessions = new Map();

http.createServer((req, res) => {
	let id = /(?:^|; )sid=(\w+)/.exec(req.headers.cookie || '')?.[1];
	if (!sessions.has(id)) {
		id = crypto.randomBytes(16).toString('hex');
		sessions.set(id, 0);
		res.setHeader('Set-Cookie', `sid=${id}; Path=/; HttpOnly; SameSite=Lax`);
	}
	sessions.set(id, sessions.get(id) + 1);
	res.end(`${sessions.get(id)} by ${process.pid}\n`);
}).listen(port);
