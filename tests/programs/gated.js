'use strict';
// node gated.js FILE PROGRAM [ARGS...]: becomes PROGRAM, a script, as soon as FILE is not there.
const fs = require('fs');

const [gate, program] = process.argv.splice(1, 3, process.argv[3]).slice(1);
const never = new Int32Array(new SharedArrayBuffer(4));

while (fs.existsSync(gate))
	Atomics.wait(never, 0, 0, 20);
require(program);
