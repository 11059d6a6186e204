'use strict';
// Sessions in Redis: each client is answered 1, 2, 3, ... whichever worker it comes to, also after a reload.
//
//     npm ci && SESSION_SECRET=$(openssl rand -hex 32) umbel run -n 2 -- node app.js 8000
//     for i in 1 2 3 4; do curl -s -b jar -c jar localhost:8000; done
//
// REDIS_URL is redis://127.0.0.1:6379 if nothing else is said.
const express = require('express');
const session = require('express-session');
const { RedisStore } = require('connect-redis');
const { createClient } = require('redis');

const port = Number(process.argv[2] || 8000);
// From outside, so that it is the same in all workers: one made here at random would be each worker's own.
const secret = process.env.SESSION_SECRET;
if (!secret)
	throw new Error('SESSION_SECRET is not set');

async function main() {
	const redis = createClient({ url: process.env.REDIS_URL || 'redis://127.0.0.1:6379' });
	redis.on('error', (error) => console.error(`redis: ${error.message}`)); // it connects again by itself
	await redis.connect();
	// A worker has drained: its servers are closed. Without this connection it ends by itself.
	process.once('disconnect', () => redis.close());

	const app = express();
	app.use(session({
		store: new RedisStore({ client: redis, prefix: 'session:', ttl: 3600 }),
		secret,
		resave: false,
		saveUninitialized: false,
	}));
	app.get('/', (req, res) => {
		req.session.count = (req.session.count || 0) + 1;
		res.type('text').send(`${req.session.count} by ${process.pid}\n`);
	});
	app.listen(port);
}

main();
