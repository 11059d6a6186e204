'use strict';
// A plain http server that answers with its pid, and whose life goes as it is told.
//
//     node life.js PORT [HOW [MS]]
//
// HOW: throws   dies of an exception before it listens     ends MS   exits with 3 so long after listening
//      quits    exits with 0 before it listens             waits     says 'ready' on SIGUSR2, not before
//      hangs    never listens
// LIFE_SLOT=N: only in that slot. LIFE_WHILE=FILE: only while the file is there. Else it just serves.
const fs = require('fs');
const http = require('http');

const { LIFE_SLOT, LIFE_WHILE, UMBEL_SLOT } = process.env;
const [port, told, ms] = process.argv.slice(2);
const isMeant = (!LIFE_SLOT || LIFE_SLOT === UMBEL_SLOT) && (!LIFE_WHILE || fs.existsSync(LIFE_WHILE));
const how = isMeant ? told : undefined;

if (how === 'throws') {
	console.error('reading the configuration');
	throw new Error('there is no configuration');
}
if (how === 'quits')
	process.exit(0);
if (how === 'waits')
	process.on('SIGUSR2', () => process.send('ready'));
if (how === 'hangs')
	setInterval(() => {}, 1000);
else
	http.createServer((req, res) => {
		const url = new URL(req.url, 'http://localhost');
		if (url.pathname === '/exit')
			process.exit(Number(url.searchParams.get('code')));
		res.end(`${process.pid}`);
	}).listen(Number(port), () => {
		if (how === 'ends')
			setTimeout(() => process.exit(3), Number(ms));
	});
