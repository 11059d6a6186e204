'use strict';
// node socketio_client.js URL [TRANSPORT...]: says what happens, and answers "echo TEXT" and "say TEXT".
const { io } = require('socket.io-client');

const [, , url, ...transports] = process.argv;
const socket = io(url, { reconnection: false, ...(transports.length && { transports }) });
const finish = (text) => {
	console.log(text);
	process.exit();
};
socket.on('connect_error', (error) => finish(`connect_error ${error.message}`));
socket.on('disconnect', (reason) => finish(`disconnect ${reason}`));
socket.on('pid', (pid) => console.log(`pid ${pid}`));
socket.on('said', (text) => console.log(`said ${text}`));
require('readline').createInterface({ input: process.stdin })
	.on('line', (line) => {
		const [what, text] = line.split(' ');
		if (what === 'say')
			socket.emit('say', text);
		else
			socket.emit('echo', text, (reply) => console.log(`echo ${reply}`));
	})
	.on('close', () => socket.close());
