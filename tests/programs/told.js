'use strict';
// A value that all workers know, if the primary passes on to all what one says. /set/VALUE, /
const http = require('http');

let value = 'nothing';
process.on('message', (message) => {
	value = message.value;
});

http.createServer((req, res) => {
	const [, word, next] = req.url.split('/');
	if (word === 'set')
		process.send({ value: next });
	res.end(`${value} by ${process.pid}\n`);
}).listen(Number(process.argv[2]));
