'use strict';
// As in Fastify's guide: no host, so it listens on every address of localhost, each a server.
const fastify = require('fastify')({ logger: true });

fastify.get('/', async () => `${process.pid}`);
fastify.post('/sum', {
	schema: { body: { type: 'array', items: { type: 'number' } } },
}, async (request) => ({ sum: request.body.reduce((a, b) => a + b, 0) }));

fastify.addHook('onClose', async (instance) => instance.log.info('closed'));
process.on('SIGTERM', async () => {
	await fastify.close();
	process.exit(0);
});

fastify.listen({ port: process.env.PORT }, (error) => {
	if (error) {
		fastify.log.error(error);
		process.exit(1);
	}
});
