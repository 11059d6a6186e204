'use strict';
// PM2's own module: a counter, and an action that `pm2 trigger` would call.
const io = require('@pm2/io');
const express = require('express');

const requests = io.counter({ name: 'Requests' });
io.action('greet', (reply) => reply({ hello: process.pid }));

const app = express();
app.get('/', (req, res) => {
	requests.inc();
	res.send(`${process.pid}`);
});
app.listen(process.env.PORT, () => process.send('ready'));
