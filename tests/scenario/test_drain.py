"""Programs that know nothing of us leave when they have nothing to do: steered away from, their responses finished,
and only then the signal."""
import re
import signal
import socket
import sys
import threading
import time

import pytest
from control import status, verb, why
from crowd import Stream
from harness import PROGRAMS, SLOW, wait_until
from intercepting import app  # noqa: F401
from intercepting import home, user  # noqa: F401

GET = "GET /{} HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def slow(app, port):
    """slow(options, "term", workers=1) is the program's run, and {slot: pid}."""
    def start(*words, options=(), workers=1):
        return app(sys.executable, PROGRAMS / "slow.py", port, *words, workers=workers, options=options)

    return start


class Connection:
    """One that stays open until the server closes it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30 * SLOW)

    def ask(self, path):
        self.socket.sendall(GET.format(path).encode())

    def answer(self):
        """The pid."""
        said = b""
        while not re.search(rb"\r\n\r\n\d+\n$", said):
            chunk = self.socket.recv(4096)
            assert chunk, f"the end after {said!r}"
            said += chunk
        return int(said.split()[-1])

    def wait_end(self):
        """All that still comes."""
        said = b""
        try:
            while chunk := self.socket.recv(4096):
                said += chunk
        except ConnectionResetError:
            pass
        return said

    def get(self, path):
        self.ask(path)
        return self.answer()

    def close(self):
        self.socket.close()


@pytest.fixture
def connect(port):
    made = []

    def one():
        made.append(Connection(port))
        return made[-1]

    yield one
    for connection in made:
        connection.close()


class Verb(threading.Thread):
    """A verb that takes its time."""

    def __init__(self, run, *words):
        super().__init__(daemon=True)
        self.run_, self.words, self.done = run, words, None
        self.start()

    def run(self):
        self.done = verb(self.run_, *self.words)

    def wait(self):
        self.join(60 * SLOW)
        assert self.done and self.done.returncode == 0, self.done


def drains(run, pid):
    return any(w["pid"] == pid and w["state"] == "draining" for w in status(run)["workers"])


def notes(run):
    return [r["text"] for r in why(run) if r["event"] == "drain"]
