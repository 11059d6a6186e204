'use strict';
// Never listens, lives on timers. usage: timers.js [deaf], deaf to TERM.
if (process.argv[2] === 'deaf')
	process.on('SIGTERM', () => console.log('not me'));
setInterval(() => {}, 1000);
console.log('alive');
