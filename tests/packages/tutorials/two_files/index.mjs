import express from 'express';

const port = process.env.PORT || 3000;
const app = express();

console.log(`worker pid=${process.pid}`);

app.get('/heavy', (req, res) => {
	let total = 0;
	for (let i = 0; i < 5_000_000; i++) {
		total++;
	}
	res.send(`The result of the CPU intensive task is ${total}\n`);
});

app.get('/', (req, res) => {
	res.send(`pid ${process.pid}\n`);
});

app.listen(port, () => {
	console.log(`App listening on port ${port}`);
});
