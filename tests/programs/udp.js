'use strict';
// Answers each datagram with its pid and what came. usage: udp.js PORT
const dgram = require('dgram');

const socket = dgram.createSocket('udp4');
socket.on('message', (data, from) => socket.send(`${process.pid} ${data}`, from.port, from.address));
socket.bind(Number(process.argv[2]), '127.0.0.1');
