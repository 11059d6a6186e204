'use strict';
// Serves on a port of 127.0.0.1: an echo.
require('net').createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
