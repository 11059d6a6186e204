'use strict';
// An http server with what keeps a Node process alive for ever: a timer, and an open connection to a
// "database". Answers when a request is whole, with its pid.
//
//     node leaving.js PORT DATABASE_PORT [HOW [MS]]
//
// HOW: works MS   on SIGTERM it has so long to do, then exits with 0
//      drains     says which signal or message came, closes its server, and exits with 0 once that is done
//      deaf       hears no signal
//      wishes     on SIGUSR2 it leaves the cluster by its own wish, and lives on
const cluster = require('cluster');
const http = require('http');
const net = require('net');

const [port, database, how, ms] = process.argv.slice(2);
const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'];

setInterval(() => {}, 1000);
net.connect(Number(database), '127.0.0.1');

const server = http.createServer((req, res) => {
	console.log('request');
	req.resume();
	req.on('end', () => res.end(`${process.pid}`));
});
server.listen(Number(port));

function drain(what) {
	console.log(`${what} came`);
	server.close(() => process.exit(0));
}

const habits = {
	works: () => process.on('SIGTERM', () => {
		console.log('work begins');
		setTimeout(() => {
			console.log('work is done');
			process.exit(0);
		}, Number(ms));
	}),
	drains: () => {
		signals.forEach((signal) => process.on(signal, drain));
		process.on('message', drain);
	},
	deaf: () => signals.forEach((signal) => process.on(signal, () => console.log(`not by ${signal}`))),
	wishes: () => process.on('SIGUSR2', () => cluster.worker.disconnect()),
};
habits[how]?.();
