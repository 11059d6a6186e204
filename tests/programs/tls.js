'use strict';
const https = require('https');
const fs = require('fs');

const [port, key, cert] = process.argv.slice(2);
const options = { key: fs.readFileSync(key), cert: fs.readFileSync(cert) };
https.createServer(options, (req, res) => res.end(`${process.pid}`)).listen(Number(port));
