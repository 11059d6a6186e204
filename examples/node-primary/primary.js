// Node's own cluster module as the primary of workers in C:
//
//     node primary.js PROGRAM [ARGUMENT]...      for instance ../../build/examples/hello_http 8000
const cluster = require('cluster');
const os = require('os');
const path = require('path');

const [program, ...args] = process.argv.slice(2);

// A worker is started as: process.execPath, execArgv, exec, args.
process.execPath = path.resolve(program);
cluster.setupPrimary({ execArgv: [], exec: args[0] ?? '', args: args.slice(1) });

cluster.on('listening', (worker, { port }) => console.log(`worker ${worker.id} listens on port ${port}`));
cluster.on('exit', (worker, code, signal) => {
	console.log(`worker ${worker.id} ended: ${signal ?? code}`);
	if (!worker.exitedAfterDisconnect)
		cluster.fork();
});
for (let i = 0; i < os.availableParallelism(); i++)
	cluster.fork();
process.on('SIGINT', () => cluster.disconnect());
process.on('SIGTERM', () => cluster.disconnect());
