'use strict';
// Answers with its pid. usage: server.js PORT
const http = require('http');

http.createServer((request, response) => response.end(`${process.pid}\n`)).listen(Number(process.argv[2]));
