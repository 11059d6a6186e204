'use strict';
// Writes what it is told and ends. usage: tell.js KIND
const fs = require('fs');

const kinds = {
	'no-newline': () => fs.writeSync(1, 'one\nthe last'),
	both: () => {
		fs.writeSync(1, 'to stdout\n');
		fs.writeSync(2, 'to stderr\n');
	},
	long: () => {
		let text = Buffer.from('x'.repeat(1 << 20) + '\nafter\n');
		while (text.length > 0)
			text = text.subarray(fs.writeSync(1, text));
	},
	escape: () => fs.writeSync(1, 'before\u001b]0;evil\u0007after\n'),
};
kinds[process.argv[2]]();
