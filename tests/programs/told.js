'use strict';
// A value that is set in one worker and told to all, if the primary passes it on. /set/VALUE, /
const http = require('http');

let value = 'nothing';
process.on('message', (message) => {
	value = message.value;
});

http.createServer((req, res) => {
	const [, word, next] = req.url.split('/');
	if (word === 'set') {
		value = next;
		process.send({ value });
	}
	res.end(`${value} by ${process.pid}\n`);
}).listen(Number(process.argv[2]));
