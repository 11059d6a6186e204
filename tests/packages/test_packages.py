"""Packages from npm, unmodified: each serves with both workers, is reloaded under load, and stops."""
import http.client
import json
import re
import subprocess

import pytest
from control import verb
from harness import get, is_refused, wait_until, who
from helpers import HERE, Client, Load, check_both_serve, handed, reload

BOTH = "both workers serve; a reload under load without a failed request; stops with 0, nothing left"

# What is started, and whether its page is its pid.
PROGRAMS = {
    "express": ("node", "apps/express.js"),
    "koa": ("node", "apps/koa.js"),
    "fastify": ("node", "apps/fastify.js"),
    "ws": ("node", "apps/ws.js"),
    "pino": ("node", "apps/pino.js"),
    "socket.io": ("node", "apps/socketio.js"),
    "throng": ("node", "apps/throng.js"),
    "@pm2/io": ("node", "apps/pm2_io.js"),
    "vite": ("node_modules/.bin/vite", "preview", "vite", "--host", "127.0.0.1", "--strictPort", "--port"),
    "next": ("node_modules/.bin/next", "start", "next", "--port"),
}
TELL_NO_PID = ("vite", "next")


@pytest.fixture
def start(umbel, port):
    """Two workers of a program of the list, on port. The options are umbel's."""
    def start(name, *options):
        words = PROGRAMS[name]
        if words[0] != "node":
            words = (*words, port)
        run = umbel("-n", 2, "--name", "app", "--soak", "200ms", "--env", f"PORT={port}", *options, "--", *words,
                    cwd=HERE)
        run.wait_listening(2)
        return run
    return start


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.row(program=n, package=n, checked=BOTH))
                                  for n in PROGRAMS])
def test_serves_reloads_stops(start, port, name):
    run = start(name)
    old = run.slots()
    bodies = check_both_serve(run, port)
    if name not in TELL_NO_PID:
        assert {int(body) for body in bodies} == set(old.values())
    with Load(port):
        reload(run)
    assert not set(run.slots().values()) & set(old.values())
    check_both_serve(run, port)
    assert run.stop() == 0
    assert is_refused(port)
