'use strict';
// app PORT [WORK [ROWS]]: a plain server, no word of cluster. WORK: CPU that a request costs (work.js);
// ROWS: the answer is an HTML template of so many rows, and the work is done row by row. SIGUSR2: it says
// how many requests it has served.
const http = require('http');
const work = require('./work');

const [port, amount = 0, rows = 0] = process.argv.slice(2).map(Number);
let served = 0;

const escape = (s) => String(s).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

const page = () => {
	let body = '';
	for (let i = 0; i < rows; i++)
		body += `<tr><td>${i}</td><td>${escape('<a & b>')}</td><td>${work(amount / rows)}</td></tr>\n`;
	return `<!doctype html><title>${rows} rows</title>\n<table>\n${body}</table>\n`;
};

process.on('SIGUSR2', () => console.log(`served ${served}`));
http.createServer((request, response) => {
	served++;
	if (rows) {
		response.setHeader('Content-Type', 'text/html');
		response.end(page());
		return;
	}
	if (amount)
		work(amount);
	response.end('ok\n');
}).listen(port, '127.0.0.1');
