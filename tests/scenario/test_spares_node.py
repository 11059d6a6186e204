"""A Node spare is warm: it answers one request to itself while it is held, and its program does not notice."""
import os
import signal
from pathlib import Path

import pytest
from harness import get, stat, wait_until
from test_spares import held, serving, steps_in

# It says what Node makes for it.
PROGRAM = """'use strict';
const { writeSync } = require('fs');
const say = (what) => writeSync(1, `${process.pid} ${what}\\n`);
require('async_hooks').createHook({ init(_, type) {
	if (type === 'HTTPINCOMINGMESSAGE' || type === 'PIPESERVERWRAP')
		say(type);
} }).enable();
%s
"""

HTTP = PROGRAM % """
require('http').createServer((_, response) => {
	say('sees a request');
	response.end(`${process.pid}`);
}).listen(Number(process.argv[2]));
"""
WATCHED = {
    "channel": "require('diagnostics_channel').subscribe('http.server.request.start', () => say('watches'));",
    "emit": """const { Server } = require('http');
const { emit } = Server.prototype;
Server.prototype.emit = function (name, ...rest) {
	if (name === 'request')
		say('watches');
	return emit.call(this, name, ...rest);
};""",
    "end": """const { ServerResponse } = require('http');
const { end } = ServerResponse.prototype;
ServerResponse.prototype.end = function (...rest) {
	say('watches');
	if (this.req.headers.host === 'spare')
		throw new Error('who is that?');
	return end.apply(this, rest);
};""",
}
NET = PROGRAM % """
const head = 'HTTP/1.0 200 OK\\r\\nContent-Length:';
require('net').createServer((socket) => {
	say('sees a connection');
	const body = String(process.pid);
	socket.on('error', () => {}).resume().end(`${head} ${body.length}\\r\\n\\r\\n${body}`);
}).listen(Number(process.argv[2]));
"""


@pytest.fixture
def app(umbel, tmp_path, port):
    def start(program, *options):
        script = tmp_path / "app.js"
        script.write_text(program)
        run = umbel("--name", "app", "-n", 1, "--spares", 1, *options, "--", "node", script, port)
        run.first = serving(run)[1]
        (run.spare,) = held(run, 1)
        return run
    return start


def said(run, what):
    return len(run.find(rf"\b{run.spare} {what}$"))


def step_in(run):
    os.kill(run.first, signal.SIGKILL)
    assert steps_in(run, 1, {run.spare}) == run.spare


def unix_sockets():
    return Path("/proc/net/unix").read_text()


@pytest.mark.parametrize("options", [[], ["--policy", "least"], ["--policy", "spread"]], ids=["rr", "least", "spread"])
def test_answers_itself(app, port, options):
    run = app(HTTP, *options)
    run.wait_for(rf"\b{run.spare} HTTPINCOMINGMESSAGE$")
    wait_until(lambda: f"@umbel-{run.spare}" not in unix_sockets(), "the end of the socket")
    assert not said(run, "sees .*") and not run.find(rf"\b{run.first} (HTTP|PIPE)"), "it, and only a spare"
    step_in(run)
    assert get(port).decode() == str(run.spare)
    run.wait_for(rf"\b{run.spare} sees a request$")
    assert [said(run, w) for w in ("PIPESERVERWRAP", "HTTPINCOMINGMESSAGE", "sees a request")] == [1, 2, 1]


def test_without_http(app, port):
    """No HTTP server, no HTTP."""
    run = app(NET)
    run.wait_for(rf"\b{run.spare} PIPESERVERWRAP$")
    step_in(run)
    assert get(port).decode() == str(run.spare)
    run.wait_for(rf"\b{run.spare} sees a connection$")
    wait_until(lambda: f"@umbel-{run.spare}" not in unix_sockets(), "the end of the socket")
    assert said(run, "sees a connection") == 1 and not said(run, "HTTPINCOMINGMESSAGE")


@pytest.mark.parametrize("how", WATCHED)
def test_watched(app, port, how):
    """Who looks at all requests is not shown one that nobody made."""
    run = app(HTTP + WATCHED[how])
    step_in(run)
    assert get(port).decode() == str(run.spare)
    run.wait_for(rf"\b{run.spare} watches$")
    assert said(run, "watches") == said(run, "HTTPINCOMINGMESSAGE") == 1 and not said(run, "PIPESERVERWRAP")


def test_rests(app):
    """Node's loop lives while it is held, and does nothing: for half a second, in the end."""
    run = app(HTTP)
    run.wait_for(rf"\b{run.spare} HTTPINCOMINGMESSAGE$")
    ticks = []

    def is_at_rest():
        ticks.append(tuple(stat(run.spare)[11:13]))
        return len(ticks) > 10 and len(set(ticks[-10:])) == 1
    wait_until(is_at_rest, "it to rest")
