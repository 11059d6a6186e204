"""What the tests of supervision share: asking a running app, following it, and holding a request open."""
import json
import os
import socket
import subprocess
import time

from harness import SLOW, UMBEL, wait_until


def verb(run, *words, **popen):
    """`umbel WORDS` for that run's runtime directory, as the user whose it is."""
    owner = run.home.stat()
    if owner.st_uid != os.geteuid():
        popen |= {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    env = os.environ | {"UMBEL_HOME": str(run.home)}
    return subprocess.run([UMBEL, *map(str, words)], env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60 * SLOW, **popen)


def ask(run, *words):
    """What a verb prints as JSON."""
    done = verb(run, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def status(run, name="app"):
    """What `umbel status --json` prints, without a process for it: tests ask again and again until it is so."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60 * SLOW)
        s.connect(str(run.home / f"{name}.sock"))
        s.sendall(b'{"request":"status"}\n')
        with s.makefile("rb") as file:
            return json.loads(file.readline())["status"]


def slot(run, number, name="app"):
    (found,) = [s for s in status(run, name)["slots"] if s["slot"] == number]
    return found


def slot_states(run, name="app"):
    return {s["slot"]: s["state"] for s in status(run, name)["slots"]}


def wait_slot(run, number, state, name="app", timeout=10):
    return wait_until(lambda: (s := slot(run, number, name))["state"] == state and s,
                      f"slot {number} to be {state}", timeout)


def why(run, *words, name="app"):
    """The records of `umbel why`, oldest first."""
    return ask(run, "why", name, *words)


def exits(run, pid=None):
    return [r for r in why(run) if r["event"] == "exit" and pid in (None, r["pid"])]


class Events:
    """Follows an app on its control socket, from now on. seen: all so far."""

    def __init__(self, run, name="app"):
        self.socket = socket.socket(socket.AF_UNIX)
        wait_until(lambda: self.socket.connect_ex(str(run.home / f"{name}.sock")) == 0, "the control socket")
        self.lines = self.socket.makefile("rb")
        self.seen = []
        self.socket.sendall(b'{"request":"events"}\n')
        assert json.loads(self.lines.readline()) == {"ok": True}

    def wait_for(self, event, timeout=15, **members):
        """The next event of that name with those members."""
        end = time.monotonic() + timeout * SLOW
        while True:
            left = end - time.monotonic()
            assert left > 0, f"no event {event} {members} in {timeout * SLOW} s"
            self.socket.settimeout(left)
            line = self.lines.readline()
            assert line, f"the app ended before event {event} {members}"
            self.seen.append(json.loads(line))
            if self.seen[-1]["event"] == event and all(
                    self.seen[-1].get(k) == v for k, v in members.items()):
                return self.seen[-1]

    def close(self):
        self.lines.close()
        self.socket.close()


class Held:
    """A request that is not whole yet: it is in progress until finish()."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30 * SLOW)
        self.socket.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n.")

    def finish(self):
        """The body of its answer, after which the server has closed the connection."""
        self.socket.sendall(b".")
        with self.socket, self.socket.makefile("rb") as file:
            text = file.read()
        head, _, body = text.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), text
        return body


class KeepAlive:
    """A client that keeps its connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 20 * SLOW)
        self.file = self.socket.makefile("rb")

    def get(self):
        """(body, whether the server wants to go on) of one request."""
        self.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        line = self.file.readline()
        assert line.startswith(b"HTTP/1.1 200"), f"no answer ({line})"
        headers = {}
        while (line := self.file.readline().strip()):
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value.lower()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while (size := int(self.file.readline(), 16)):
                body += self.file.read(size)
                self.file.readline()
            self.file.readline()
        else:
            body = self.file.read(int(headers["content-length"]))
        return body, headers.get("connection") != "close"

    def is_ended(self):
        """Waits for the server to close it."""
        return self.file.read(1) == b""

    def close(self):
        self.file.close()
        self.socket.close()
