import http from 'node:http';
import cluster from 'node:cluster';

if (!cluster.isWorker)
	throw new Error('not a worker');
await null;
http.createServer((req, res) => res.end(`${process.pid}`)).listen(Number(process.argv[2]));
