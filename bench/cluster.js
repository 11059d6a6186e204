'use strict';
// cluster WORKERS PORT ...: app.js under Node's own primary, the other side of most figures. Its policy is
// rr, unless NODE_CLUSTER_SCHED_POLICY says none.
const cluster = require('cluster');

const [workers, ...rest] = process.argv.slice(2);

cluster.setupPrimary({exec: require.resolve('./app.js'), args: rest});
cluster.on('listening', () => console.log('listens'));
for (let i = 0; i < Number(workers); i++)
	cluster.fork();
