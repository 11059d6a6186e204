"""What the tests of programs share: starting one, a light load on it, and a client with a WebSocket."""
import http.client
import re
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest
from control import status, verb
from harness import SLOW, get, is_refused, wait_until

HERE = Path(__file__).resolve().parent

# What check_run() checks; table.py says it in full.
BOTH = "serves, reloads, stops"

# A successor that finds the port taken has to say so within it.
SOAK = ("--soak", "20s")


def row(program, checked, package=None, result="works", remark=None):
    """Marks a test as a part of a program's line in docs/PROGRAMS.md: what was checked; the package that it is
    (for the version); what the line says when the tests pass."""
    return pytest.mark.row(program=program, checked=checked, package=package, result=result, remark=remark)


class Load:
    """A light load: two clients that keep their connection, and two with one for each request.
    `with Load(port) as load: ...`; afterwards each request must have been answered."""

    def __init__(self, port, path="/"):
        self.port, self.path = port, path
        self.over = threading.Event()
        self.answered, self.failed = Counter(), []
        self.threads = [threading.Thread(target=self._go, args=(keep,), daemon=True)
                        for keep in (True, True, False, False)]

    def _go(self, keep):
        connection = None
        while not self.over.wait(0.005):
            try:
                # After "Connection: close" it is closed already, and opens again by itself.
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20 * SLOW)
                connection.request("GET", self.path, headers={} if keep else {"Connection": "close"})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, f"status {answer.status}"
                self.answered[keep] += 1
            except Exception as error:
                self.failed.append(repr(error))
                connection = None
        if connection:
            connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        wait_until(lambda: len(self.answered) == 2 or self.failed, "the first answers")
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        if not kind:
            assert not self.failed, f"{len(self.failed)} failed: {self.failed[:3]}"


def handed(run):
    """{pid: connections it was given}"""
    return {w["pid"]: w["connections"]["handed"] for w in status(run)["workers"]}


def check_both_serve(run, port, path="/", count=20):
    """Connections of their own are given to both workers in turn."""
    before = handed(run)
    bodies = [get(port, path) for _ in range(count)]
    now = handed(run)
    given = {pid: now[pid] - before.get(pid, 0) for pid in now}
    assert [n for n in given.values() if n] == [count // 2] * 2, given
    return bodies


def reload(run, *options):
    done = verb(run, "reload", "app", *options)
    assert done.returncode == 0, done.stdout + done.stderr


def own_primary(umbel, port, file, *options):
    """A program that umbel only keeps alive: it forks its workers itself."""
    return umbel("-n", 1, "--name", "app", "--share", "none", "--env", f"PORT={port}", *options, "--", "node", file,
                 cwd=HERE)


def check_own_primary(run, served):
    """Of a program under `--share none`, whose successor finds the port taken: the reload is undone, and it
    serves on. served() is true as long as it does."""
    assert served()
    done = verb(run, "reload", "app")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "EADDRINUSE" in done.stderr
    assert served()
    assert run.stop() == 0


def check_run(run, port, path="/", pid=None, stop=True):
    """BOTH, of two workers that listen. pid: where a page tells who made it."""
    old = set(run.slots().values())
    bodies = check_both_serve(run, port, path)
    if pid:
        assert {int(re.search(pid, body.decode())[1]) for body in bodies} == old
    with Load(port, path):
        reload(run)
    assert not set(run.slots().values()) & old
    check_both_serve(run, port, path)
    if stop:
        assert run.stop() == 0
        assert is_refused(port)


class Client:
    """One of the Node clients here: a line in, lines out."""

    def __init__(self, program, *words):
        self.process = subprocess.Popen(["node", HERE / program, *map(str, words)], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self):
        """The next line; the deadline of the test is its limit. Empty: it has ended."""
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        return self.read()

    def close(self):
        """The last line."""
        self.process.stdin.close()
        return self.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(10 * SLOW)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
