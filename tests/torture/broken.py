"""broken: new code that is no good. `umbel reload` says so and why, in time; the old generation serves on
as if nothing had happened."""
import os
import re
import tempfile
import time
from pathlib import Path

from app import KINDS, NAME, App
from harness import PROGRAMS, SLOW
from load import Kernel, Wrk, loading

WORKERS = 2
SOAK = 1
READY = 3
DELAY_MS = 5  # leaves the machine some time: here a program that does not start is its own fault
OPTIONS = ["--soak", f"{SOAK}s", "--ready-timeout", f"{READY}s"]
ENOUGH = 5 * SLOW  # what a reload may take beyond its own limits

GOOD = {
    "node": (PROGRAMS / "keepalive.js").read_text(),
    "c": f"#!/bin/sh\nexec {KINDS['c'][0]} $1 {DELAY_MS}\n",
}

# {what: (the program, what must be said)}
BAD = {
    "node": {
        "does not parse": ("const http = require('http';\n", "SyntaxError"),
        "crashes at boot": ("throw new Error('no database');\n", "no database"),
        "crashes after 0.5 s": (GOOD["node"] + "setTimeout(() => { throw new Error('too late'); }, 500);\n",
                                "too late"),
        "is never ready": ("setInterval(() => {}, 1000);\n", "ready"),
        # A worker of Node lives as long as its channel: this one ends only because it is told to.
        "binds nothing": ("console.log('nothing to do');\n", "ready"),
        "binds nothing and ends": ("process.exit(0);\n", "0"),
    },
    "c": {
        "does not parse": ("#!/bin/sh\nif (\n", "[Ss]yntax error"),
        "crashes at boot": ("#!/bin/sh\necho no database >&2\nexit 7\n", "no database"),
        "crashes after 0.5 s": (f"#!/bin/sh\nexec {KINDS['c'][0]} $1 0 500\n", "SIGABRT"),
        "is never ready": ("#!/bin/sh\nexec sleep 600\n", "ready"),
        "binds nothing and ends": ("#!/bin/sh\nexit 0\n", "0"),
        "cannot be executed": ("#!/nowhere/sh\n", "No such file|could not be executed"),
    },
}


class Program:
    """A program on the disk that is replaced as a whole, as a deployment does."""

    def __init__(self, kind, directory):
        self.path = directory / ("app.js" if kind == "node" else "app")
        self.words = ["node", self.path] if kind == "node" else [self.path]

    def write(self, text):
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o700)
        os.rename(new, self.path)


def who(status):
    return sorted((w["slot"], w["pid"], w["state"], w["generation"]) for w in status["workers"])


def deploy_bad(app, what, pattern):
    """How long the reload took."""
    before, began = app.wait_settled(WORKERS), time.monotonic()
    done = app.umbel("reload", NAME)
    took = time.monotonic() - began
    said = f"{what}: exit status {done.returncode} after {took:.1f} s\n{done.stdout}{done.stderr}"
    assert done.returncode == 4, said
    assert took < READY + SOAK + ENOUGH, said
    assert re.search(pattern, done.stdout + done.stderr), f"no reason ({pattern}): {said}"
    after = app.wait_settled(WORKERS)
    assert who(after) == who(before), f"{what}: {who(before)} before, {who(after)} after"
    assert after["generation"] == before["generation"], f"{what}: generation {after['generation']}"
    return took


def under_load(kind):
    with tempfile.TemporaryDirectory(prefix="umbel-torture-") as directory:
        program = Program(kind, Path(directory))
        program.write(GOOD[kind])
        with App(program.words, DELAY_MS, workers=WORKERS, options=OPTIONS) as app:
            kernel = Kernel()
            with loading(Wrk(app.port, False, 8), Wrk(app.port, True, 8)) as clients:
                took = {}
                for what, (text, pattern) in BAD[kind].items():
                    program.write(text)
                    took[what] = deploy_bad(app, what, pattern)
                program.write(GOOD[kind])
                before = app.status()
                app.reload()
                after = app.wait_settled(WORKERS)
                kernel.end()
                loads = [client.stop() for client in clients]
            said = kernel.check(loads)
            assert not {w["pid"] for w in before["workers"]} & {w["pid"] for w in after["workers"]}
            failed, requests = sum(load.failed for load in loads), sum(load.requests for load in loads)
            assert failed == 0, "\n".join([f"{failed} of {requests} failed", *(l.said for l in loads)])
    return (", ".join(f"{what} {seconds:.1f} s" for what, seconds in took.items())
            + f"; {requests} requests, {failed} failed; {said}")


def run(say):
    for kind in BAD:
        say(f"{kind}: each reload undone: {under_load(kind)}")
    return f"{sum(map(len, BAD.values()))} bad programs, 0 failed requests"
