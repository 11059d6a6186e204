'use strict';
// One HTTP/2 session: a request for each line of stdin. usage: preload_http2_client.js URL
const http2 = require('http2');

const session = http2.connect(process.argv[2], { rejectUnauthorized: false });
session.on('error', (error) => console.log(`error ${error.code}`));
session.on('goaway', (code) => console.log(`goaway ${code}`));
session.on('close', () => {
	console.log('closed');
	process.exit(0);
});
require('readline').createInterface({ input: process.stdin }).on('line', () => {
	const stream = session.request({ ':path': '/' });
	let body = '';
	stream.on('data', (data) => { body += data; });
	stream.on('error', (error) => console.log(`error ${error.code}`));
	stream.on('end', () => console.log(`answer ${body}`));
	stream.end();
});
