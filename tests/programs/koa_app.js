'use strict';
const Koa = require('koa');

const app = new Koa();
app.use((context) => {
	context.body = `${process.pid}`;
});
app.listen(Number(process.argv[2]));
