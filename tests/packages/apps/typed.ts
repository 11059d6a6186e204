import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

const port: number = Number(process.env.PORT);

createServer((_: IncomingMessage, response: ServerResponse) => {
	response.end(`${process.pid}\n`);
}).listen(port);
