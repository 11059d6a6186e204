'use strict';
// Ends with CODE, at once.
process.exit(Number(process.argv[2]));
