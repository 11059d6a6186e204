'use strict';
// Runs in each Node worker before the program (the primary adds `--require` of this file to
// NODE_OPTIONS), for four things that Node's own messages leave out:
// - its keep-alive connections end without a cut: once draining begins each response says
//   `Connection: close`. Node alone closes idle connections in the moment it is told to leave, and
//   the request that is on its way then is lost;
// - a socket that it binds itself (`exclusive`, `reusePort`) makes it ready too: the primary is told
//   as Node tells it of the others;
// - how many connections it has of those that it was handed: while the primary asks for that (policy least);
// - a spare answers one request to itself while it is held: Node compiles what it runs for the first
//   time, and a first answer takes ten milliseconds, where a second takes one.
// The program must not notice: nothing here throws, keeps the process alive, or costs anything
// before it is asked. Not for leaving itself: that is Node's own `act: disconnect`, which follows.

const { setImmediate } = globalThis; // a program may have another one for its tests
const open = new Set(); // clients' connections, once draining
const http2 = new WeakSet(); // HTTP/2 servers whose streams are watched
let channels; // diagnostics channels: before Node 18.7 one that nobody holds is lost with its listeners
let send; // process.send as it was before the program could replace it
let isDrained = false;

// Says it to the primary. Without the callback a closed channel would be an 'error' of the process.
function say(message) {
	if (process.connected)
		send.call(process, message, () => {});
}

// Whatever fails here costs a clean end of a connection at worst; an exception, the program.
function quietly(action) {
	return (...args) => {
		try {
			action(...args);
		} catch {}
	};
}

// The path as given may lead through links; __filename mostly does not.
function isThisFile(path) {
	const { realpathSync } = require('fs');
	try {
		return path === __filename || realpathSync(path) === realpathSync(__filename);
	} catch {
		return false;
	}
}

// The variable as the user had it: children of the program are not our workers. Ours is the last
// one, `--require "PATH"`, where `\` and `"` of the path have a backslash in front.
function restoreOptions() {
	const before = process.env.NODE_OPTIONS || '';
	const ours = [...before.matchAll(/ ?--require "((?:\\.|[^"\\])*)"/gs)].reverse()
		.find((match) => isThisFile(match[1].replace(/\\(.)/gs, '$1')));
	if (!ours)
		return;
	const after = before.slice(0, ours.index) + before.slice(ours.index + ours[0].length);
	if (after)
		process.env.NODE_OPTIONS = after;
	else
		delete process.env.NODE_OPTIONS;
}

// The program's own `Connection: keep-alive`, which proxies write, says close instead.
const overrule = quietly((response) => {
	const header = response._header.replace(/^connection: *keep-alive\r$/im, 'Connection: close\r');
	if (header !== response._header) {
		response._header = header;
		response._last = true; // Node ends the connection after it
	}
});

// The connection ends with this response.
function mark(response) {
	if (!response || response.headersSent)
		return; // too late: the next response of this connection will say it
	response.shouldKeepAlive = false; // Node's own header
	const store = response._storeHeader;
	if (typeof store !== 'function')
		return;
	response._storeHeader = function (...args) {
		store.apply(this, args);
		overrule(this);
	};
}

// The responses in progress at a server. Node keeps its parsers in a list; from the raw socket of a
// TLS connection there is no other way to the response.
function inProgress(server) {
	const list = Object.getOwnPropertySymbols(server)
		.find((symbol) => symbol.description === 'http.server.connections');
	return list ? server[list].all().map((parser) => parser.socket && parser.socket._httpMessage) : [];
}

function drainedIfNone() {
	if (open.size || isDrained)
		return;
	isDrained = true;
	say({ cmd: 'NODE_UMBEL_DRAINED' });
}

function watch(socket) {
	if (open.has(socket))
		return;
	open.add(socket);
	socket.once('close', quietly(() => {
		open.delete(socket);
		drainedIfNone();
	}));
	// An HTTP/2 session lives until its next stream, as a keep-alive connection until its next
	// request: a GOAWAY goes with the answer. (Sessions that stay idle are not to be found in all
	// versions; they end as Node ends them.)
	const { server } = socket;
	if (typeof server.updateSettings !== 'function' || http2.has(server))
		return;
	http2.add(server);
	server.on('stream', quietly((stream) => stream.session.close()));
}

function drain() {
	if (channels)
		return;
	const diagnostics = require('diagnostics_channel');
	const names = ['http.server.request.start', 'net.server.socket'];
	channels = names.map((name) => diagnostics.channel(name));
	channels[0].subscribe(quietly(({ response }) => mark(response)));
	channels[1].subscribe(quietly(({ socket }) => watch(socket)));
	// Only what a server accepted has a server; upgraded ones (websockets) keep it.
	const sockets = process._getActiveHandles().filter((handle) => handle.server && handle.once);
	sockets.forEach(watch);
	new Set(sockets.map((socket) => socket.server))
		.forEach(quietly((server) => inProgress(server).forEach(mark)));
	drainedIfNone();
}

// ---- counting ----

const counted = { open: 0, finished: 0 };
let isCounting = false;
let isHanded = false; // a connection is on its way from the primary to its server
let willTell = false;

// At most once in a turn of the loop.
function tellSoon() {
	if (willTell || !isCounting)
		return;
	willTell = true;
	setImmediate(quietly(tellCounted));
}

function tellCounted() {
	willTell = false;
	if (!isCounting)
		return;
	say({ cmd: 'NODE_UMBEL_DONE', count: counted.finished, open: counted.open });
	counted.finished = 0;
}

const onCountedClose = quietly(() => {
	counted.open--;
	counted.finished++;
	tellSoon();
});

const countSocket = quietly(({ socket }) => {
	if (!isHanded)
		return; // the server has accepted it itself
	isHanded = false;
	counted.open++;
	socket.on('close', onCountedClose);
});

// Before Node's own listener, which hands it to the server, and after it.
const beforeHanded = (message) => {
	if (message && message.act === 'newconn')
		isHanded = true;
};
const afterHanded = quietly((message) => {
	if (!message || message.act !== 'newconn')
		return;
	if (isHanded)
		tellSoon(); // no socket: the server has too many. The primary believes that it is open
	isHanded = false;
});

// Those of before are not counted, and those that are counted until they end, asked for or not.
function count(isWanted) {
	if (isWanted === isCounting)
		return;
	isCounting = isWanted;
	counted.finished = 0;
	const diagnostics = require('diagnostics_channel');
	counted.channel = diagnostics.channel('net.server.socket'); // held: see above
	if (isWanted) {
		counted.channel.subscribe(countSocket);
		process.prependListener('internalMessage', beforeHanded);
		process.on('internalMessage', afterHanded);
		tellCounted();
	} else {
		counted.channel.unsubscribe(countSocket);
		process.removeListener('internalMessage', beforeHanded);
		process.removeListener('internalMessage', afterHanded);
	}
}

// ---- a spare ----

let hasHttp = false; // it has asked for an address for an HTTP server
let functions; // those that are called for a request, as Node has them; of a spare

function functionsNow() {
	const http = require('http');
	const net = require('net');
	const places = [http, net, ...[http.Server, http.IncomingMessage, http.ServerResponse, http.OutgoingMessage,
		net.Server, net.Socket].map((kind) => kind.prototype)];
	return places.flatMap((place) => Object.values(Object.getOwnPropertyDescriptors(place)))
		.map(({ value }) => value);
}

// Those who watch all requests would see one that nobody made: who has replaced a function, and who subscribes.
function isWatched() {
	const now = functionsNow();
	if (!functions || now.length !== functions.length || now.some((value, i) => value !== functions[i]))
		return true;
	const { channel } = require('diagnostics_channel');
	const names = ['http.server.request.start', 'http.server.response.finish', 'net.client.socket'];
	if (!isCounting)
		names.push('net.server.socket');
	return names.some((name) => channel(name).hasSubscribers);
}

// With a server and a client of our own, over a socket without a file that is open for that long.
function warm() {
	if (isWatched())
		return;
	const net = require('net');
	const path = `\0umbel-${process.pid}`;
	const answer = quietly((first, response) => (response || first.resume()).end());
	const server = (hasHttp ? require('http') : net).createServer(answer);
	server.on('error', () => {});
	asked.add(server);
	server.listen({ path, exclusive: true }, quietly(() => {
		const client = net.connect(path);
		client.on('error', () => {}).on('close', quietly(() => server.close())).unref().resume();
		client.setTimeout(1000, () => client.destroy());
		client.write('GET / HTTP/1.1\r\nHost: spare\r\nConnection: close\r\n\r\n');
	})).unref();
}

// ---- sockets of its own ----

const asked = new WeakSet(); // servers whose address Node has asked for

// Node asks the primary for every socket but those, through this one function.
function tellOwnSockets() {
	const cluster = require('cluster');
	const net = require('net');
	const dgram = require('dgram');
	const { _getServer } = cluster;
	const { _listen2 } = net.Server.prototype;
	const { bind } = dgram.Socket.prototype;

	cluster._getServer = function (server, ...rest) {
		asked.add(server);
		hasHttp = hasHttp || typeof server.closeIdleConnections === 'function';
		return _getServer.call(this, server, ...rest);
	};
	// The last step of each listen(), whoever bound the socket.
	net.Server.prototype._listen2 = function (...args) {
		const result = _listen2.apply(this, args);
		if (!asked.delete(this) && this._handle)
			tellListening(this);
		return result;
	};
	// A socket that sends before it is bound is bound so too, to any port: it serves nobody.
	dgram.Socket.prototype.bind = function (options, ...rest) {
		const isImplicit = options && options.exclusive && options.port === 0;
		if (!isImplicit)
			this.prependOnceListener('listening', () => {
				if (!asked.has(this))
					tellListening(this);
			});
		return bind.call(this, options, ...rest);
	};
}

const tellListening = quietly((socket) => {
	const at = socket.address();
	const addressType = typeof at === 'string' ? -1
		: socket.type || (at.family === 'IPv6' ? 6 : 4);
	const place = typeof at === 'string' ? { address: at, port: -1 } : { address: at.address, port: at.port };
	say({ cmd: 'NODE_CLUSTER', act: 'listening', addressType, ...place });
});

quietly(() => {
	delete require.cache[__filename];
	restoreOptions();
	// NODE_UNIQUE_ID and the channel are gone from the environment by now. A worker thread has no
	// channel; the module is loaded already in a cluster worker, and not for us anywhere else.
	if (typeof process.send !== 'function' || !require('cluster').worker)
		return;
	send = process.send;
	// This event, unlike 'message' and 'disconnect', does not keep the process alive.
	process.on('internalMessage', quietly((message) => {
		if (message && message.cmd === 'NODE_UMBEL_DRAIN')
			drain();
		else if (message && message.cmd === 'NODE_UMBEL_COUNT')
			count(message.on === true);
		else if (message && message.cmd === 'NODE_UMBEL_WARM')
			warm();
	}));
	say({ cmd: 'NODE_UMBEL_PRELOAD', node: parseInt(process.versions.node) });
	quietly(tellOwnSockets)();
	if (process.env.UMBEL_SLOT === undefined)
		functions = functionsNow();
})();
