'use strict';
const express = require('express');

const app = express();
app.get('/', (req, res) => res.send(`${process.pid}`));
app.listen(Number(process.argv[2]));
