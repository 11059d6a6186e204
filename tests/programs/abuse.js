'use strict';
// Serves; asked for /KIND it writes that on its channel, which is descriptor 3.
const http = require('http');
const fs = require('fs');

const kinds = {
	'/garbage': 'this is not JSON\n',
	'/broken': '{"cmd":"NODE_CLUSTER","act":\n',
	'/empty': '\n',
	'/binary': Buffer.concat([Buffer.alloc(4096, 0xff), Buffer.from('\n')]),
	'/huge': Buffer.alloc(20 << 20, 'x'),
	'/types': '{"cmd":"NODE_CLUSTER","act":"queryServer","port":"x","address":7,"seq":{}}\n',
	'/number': '{"cmd":"NODE_CLUSTER","act":7,"seq":18446744073709551616}\n',
	'/ack': '{"cmd":"NODE_HANDLE_ACK"}\n{"cmd":"NODE_CLUSTER","ack":99,"accepted":true,"seq":1}\n',
	'/close': '{"cmd":"NODE_CLUSTER","act":"close","key":"no such key","seq":1}\n',
	'/done': '{"cmd":"NODE_UMBEL_DONE","count":2147483647,"open":2147483647}\n',
	'/done-negative': '{"cmd":"NODE_UMBEL_DONE","count":-1,"open":0}\n',
	'/done-huge': '{"cmd":"NODE_UMBEL_DONE","count":1,"open":1e300}\n',
	'/done-half': '{"cmd":"NODE_UMBEL_DONE","count":1}\n',
	'/deep': '['.repeat(100000) + '\n',
};

function write(data) {
	data = Buffer.from(data);
	while (data.length > 0) {
		try {
			data = data.subarray(fs.writeSync(3, data));
		} catch (error) {
			if (error.code !== 'EAGAIN')
				return;
		}
	}
}

http.createServer((req, res) => {
	if (req.url === '/slow') {
		console.log('slow begins');
		setTimeout(() => res.end(`${process.pid}`), 1500);
		return;
	}
	res.end(`${process.pid}`, () => kinds[req.url] && write(kinds[req.url]));
}).listen(Number(process.argv[2]));
