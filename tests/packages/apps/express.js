'use strict';
const express = require('express');

const app = express();
app.use(express.json());
app.get('/', (req, res) => res.send(`${process.pid}`));
app.post('/sum', (req, res) => res.json({ sum: req.body.reduce((a, b) => a + b, 0) }));
app.listen(process.env.PORT, (error) => {
	if (error)
		throw error;
	console.log(`Example app listening on port ${process.env.PORT}`);
});
