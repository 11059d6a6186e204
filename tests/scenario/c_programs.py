"""What the tests of C programs share: starting one that is its own primary, and talking to it."""
import itertools
import os
import secrets
import signal
import socket
from collections import Counter

import pytest
from harness import BUILD, PROGRAMS, REPORT, SANITIZER, SLOW, Run, wait_until

EXAMPLES = BUILD / "examples"
TESTS = BUILD / "tests" / "programs"

_numbers = itertools.count(1)

WAYS = ["alone", "umbel run"]


def marked(token):
    """Pids of all living processes with the token in their environment. (UMBEL_TEST does not reach the
    workers of a primary that is not the harness's.)"""
    mark, found = f"C_TEST={token}".encode(), []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(entry))
        except OSError:
            pass
    return found


class Program(Run):
    """A program that is its own primary. Those of tests/programs say what `umbel run` says."""

    def kill(self):
        self.crashed = True
        self.stop(signal.SIGKILL)
        wait_until(lambda: not marked(self.token), "the workers of a dead primary to end")

    def check(self):
        assert not self.find(SANITIZER.pattern), "the sanitizer has something to say"
        for report in (m for text in self.output() if (m := REPORT.match(text))):
            assert report[1] == report[2], report[0]


@pytest.fixture
def program(environment, home):
    """program(path, *args) starts it, in the programs' directory. Keywords: env (more of it), Popen's."""
    token = secrets.token_hex(8)
    runs = []

    def start(*argv, env=None, tty=False, **popen):
        popen.setdefault("cwd", PROGRAMS)
        run = Program([str(word) for word in argv], {**environment, "C_TEST": token, **(env or {})},
                      home, token, tty, **popen)
        runs.append(run)
        return run

    yield start
    failures = []
    for run in reversed(runs):
        try:
            run.end()
        except Exception as failure:  # the others are to be ended too
            failures.append(failure)
    left = marked(token)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    if failures:
        raise failures[0]
    assert not left, "processes are left"
    for run in runs:
        run.check()


@pytest.fixture
def start(umbel, program):
    """start(way, path, *args): the program with two workers, alone or under `umbel run`."""
    def start_it(way, path, *args, **popen):
        if way == "alone":
            return program(path, *args, **popen)
        name = f"c{next(_numbers)}"  # two of one program may run at a time
        return umbel("-n", 2, "--name", name, "--", path, *args, **popen)

    return start_it


def greeting(port):
    """What a connection is told until its end."""
    with socket.create_connection(("127.0.0.1", port), 20 * SLOW) as s:
        return b"".join(iter(lambda: s.recv(4096), b"")).decode()


def greetings(port, count):
    return Counter(greeting(port) for _ in range(count))


class Talk:
    """One connection to the program `serve`."""

    def __init__(self, port, read=True):
        self.socket = socket.create_connection(("127.0.0.1", port), 20 * SLOW)
        self.file = self.socket.makefile("rw", newline="\n")
        self.pid = int(self.file.readline()) if read else None

    def say(self, line):
        self.file.write(line + "\n")
        self.file.flush()

    def answer(self):
        text = self.file.readline()
        self.file.close()
        self.socket.close()
        return text

    def ask(self, line):
        self.say(line)
        return self.answer()
