"""Programs that know nothing of us leave when they have nothing to do: steered away from, their responses finished,
and only then the signal."""
import os
import re
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path

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

    def __init__(self, port, path=None):
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(30 * SLOW)
            self.socket.connect(str(path))
        else:
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

    def go_on(self):
        """What `wait` waits for."""
        self.socket.sendall(b"!")
        return self.answer()

    def get(self, path):
        self.ask(path)
        return self.answer()

    def close(self):
        self.socket.close()


@pytest.fixture
def connect(port):
    made = []

    def one(path=None):
        made.append(Connection(port, path))
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
    return [r["text"] for r in why(run) if r.get("what") == "drain"]


def wait_busy(pid, connection):
    """Until it has read the request."""
    port = connection.socket.getsockname()[1]

    def is_read():
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, peer, state, queues, *_ = line.split()
            if int(peer.split(":")[1], 16) == port and state == "01":
                return queues == "00000000:00000000"
        return False

    wait_until(is_read, f"pid {pid} to read a request")


@pytest.mark.parametrize("words", [(), ("term",)], ids=["dies", "handler"])
def test_reload_under_load(slow, port, words):
    """Responses that take longer than the replacement of a worker."""
    run, pids = slow(*words, workers=2)
    load = Stream(port, 8, say=GET.format("800").replace("1.1", "1.0").encode())
    wait_until(lambda: load.crowd.answers, "the first response")
    done = verb(run, "reload", "app")
    said = load.stop()
    assert done.returncode == 0, done.stderr
    assert said.failed == 0 and said.requests > 8, said
    served = {answer.pid for answer in load.crowd.answers}
    assert served > set(pids.values())
    assert not notes(run)
    assert all("SIGTERM with 0 in progress" in line for line in run.output() if "SIGTERM" in line)
    assert len(run.find("SIGTERM with")) == (2 if words else 0)


def test_idle_connection_does_not_hold_it(slow, connect):
    run, pids = slow(options=["--grace", "600s"])
    held = connect()
    assert held.get("50") == pids[1]
    assert verb(run, "reload", "app").returncode == 0
    assert held.wait_end() == b""
    assert notes(run) == [f"pid {pids[1]}: 1 idle connection was ended"]


def test_silent_connections_do_not_hold_it(slow, connect):
    run, pids = slow(options=["--grace", "600s"])
    held = [connect() for _ in range(3)]
    assert verb(run, "reload", "app").returncode == 0
    assert [c.wait_end() for c in held] == [b""] * 3
    assert notes(run) == [f"pid {pids[1]}: 3 idle connections were ended"]


def test_idle_connection_ends_while_another_is_busy(slow, connect):
    """All of them will hardly ever be idle at once. The program sees a client that has gone."""
    run, pids = slow("term", options=["--grace", "600s"])
    held, busy = connect(), connect()
    assert held.get("50") == pids[1]
    busy.ask("wait")
    wait_busy(pids[1], busy)
    over = Verb(run, "reload", "app")
    assert held.wait_end() == b""
    assert drains(run, pids[1])
    held.close()
    assert busy.go_on() == pids[1]
    busy.wait_end()
    over.wait()
    assert notes(run) == [f"pid {pids[1]}: 2 idle connections were ended"]
    assert run.find("SIGTERM with 0 in progress")


def test_stream_that_looks_idle(slow, connect):
    """It is ended as far as the program reads from it; what it writes does not kill it, and others are finished."""
    run, pids = slow("pipe", options=["--grace", "10s", "--linger", "200ms"])
    stream, busy = connect(), connect()
    stream.ask("stream/2000")
    stream.answer()
    busy.ask("wait")
    wait_busy(pids[1], busy)
    over = Verb(run, "reload", "app")
    wait_until(lambda: drains(run, pids[1]), "it to drain")
    read_words(stream, pids[1], 1)
    assert busy.go_on() == pids[1]
    stream.wait_end()  # not before half of the grace is over
    over.wait()
    assert notes(run)[0] == f"pid {pids[1]}: 2 idle connections were ended"  # each once
    assert not run.find("SIGPIPE")


def read_words(connection, pid, count):
    with connection.socket.makefile() as words:
        for _ in range(count):
            assert words.readline() == f"{pid}\n"


def test_stream_is_not_idle(slow, connect):
    """It may pause for as long as it has lasted."""
    run, pids = slow(options=["--grace", "600s"])
    stream = connect()
    stream.ask("stream/300")
    stream.answer()
    read_words(stream, pids[1], 4)
    over = Verb(run, "reload", "app")
    wait_until(lambda: drains(run, pids[1]), "it to drain")
    read_words(stream, pids[1], 5)
    assert drains(run, pids[1])
    stream.close()
    over.wait()
    assert not notes(run)


def test_stream_is_ended_late(slow, connect):
    """After half of the grace a pause is enough."""
    run, pids = slow(options=["--grace", "6s", "--linger", "200ms"])
    stream = connect()
    stream.ask("stream/800")
    stream.answer()
    read_words(stream, pids[1], 2)
    began = time.monotonic()
    over = Verb(run, "reload", "app")
    stream.wait_end()
    assert time.monotonic() - began > 3
    over.wait()
    assert notes(run)[0] == f"pid {pids[1]}: 1 idle connection was ended"


def test_answer_in_parts(slow, connect):
    """A pause in it looks like its end: the program is told that the client has gone, and goes on writing."""
    run, pids = slow()
    busy = connect()
    busy.ask("parts/1000")
    busy.socket.recv(1)
    over = Verb(run, "reload", "app")
    assert busy.answer() == pids[1]
    assert busy.wait_end() == b""
    over.wait()


def test_client_that_never_pauses(slow, connect):
    """It is told between two requests, after `--linger`; what it has asked is answered."""
    run, pids = slow(options=["--grace", "600s", "--linger", "200ms"])
    answered, over = set(), Verb(run, "reload", "app")
    while over.is_alive():
        client = connect()
        try:
            while over.is_alive():
                if select.select([client.socket], [], [], 0.005)[0]:
                    assert client.wait_end() == b""
                    break
                answered.add(client.get("0"))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has asked in that moment: nothing was begun
    over.wait()
    assert pids[1] in answered
    assert any("ended" in note for note in notes(run))


@pytest.mark.parametrize("order", [("reload", "app"), ("stop", "app")], ids=["reload", "stop"])
def test_response_in_progress_is_finished(slow, connect, order):
    run, pids = slow("term")
    busy = connect()
    busy.ask("wait")
    wait_busy(pids[1], busy)
    over = Verb(run, *order)
    wait_until(lambda: drains(run, pids[1]), "it to drain")
    assert busy.go_on() == pids[1]
    busy.wait_end()
    over.wait()
    assert run.find("SIGTERM with 0 in progress")


def test_response_of_a_child(slow, connect):
    run, pids = slow("fork")
    busy = connect()
    busy.ask("wait")
    wait_busy(pids[1], busy)
    over = Verb(run, "reload", "app")
    wait_until(lambda: drains(run, pids[1]), "it to drain")
    assert busy.go_on() == pids[1]
    busy.close()
    over.wait()


def test_handshake_under_way(slow, connect):
    """With TCP_DEFER_ACCEPT it is over when the client has spoken; until then it is in no queue."""
    run, pids = slow("defer")
    late = connect()
    over = Verb(run, "reload", "app")
    wait_until(lambda: drains(run, pids[1]), "it to drain")
    assert late.get("100") == pids[1]
    late.close()
    over.wait()
    assert not notes(run)


@pytest.mark.parametrize("user", ["nobody"], indirect=True)
def test_one_that_hides(slow, connect):
    run, pids = slow("hides", options=["--linger", "2s"])
    busy = connect()
    busy.ask("1000")
    over = Verb(run, "reload", "app")
    assert busy.answer() == pids[1]
    busy.wait_end()
    over.wait()
    assert notes(run) == [f"pid {pids[1]}: its connections cannot be seen (Permission denied): they have 2000 ms"]


@pytest.mark.parametrize("end", ["dies", "stop", "kill"])
def test_what_ends_while_it_drains(slow, connect, end):
    run, pids = slow(options=["--grace", "600s"])
    busy = connect()
    busy.ask("wait")
    wait_busy(pids[1], busy)
    over = Verb(run, "reload", "app")
    wait_until(lambda: drains(run, pids[1]), "it to drain")
    if end == "dies":
        os.kill(pids[1], signal.SIGKILL)
        over.wait()
        return
    run.send(signal.SIGTERM)
    if end == "kill":
        wait_until(lambda: run.find("stopping"), "it to stop")
        run.send(signal.SIGINT)  # two of one kind within 20 ms are one
    elif end == "stop":
        assert busy.go_on() == pids[1]
    run.wait()


def test_request_in_the_tick_of_an_answer(slow, connect):
    """Nothing tells it from an answer in the tick of its request: it has as long as such a one may take."""
    run, pids = slow("term")
    busy = connect()
    for _ in range(20):
        busy.get("0")
    busy.ask("1500")
    over = Verb(run, "reload", "app")
    assert busy.answer() == pids[1]
    over.wait()
    assert run.find("SIGTERM with 0 in progress")


@pytest.mark.parametrize("words", [(), ("term",)], ids=["dies", "handler"])
def test_stream_is_cut_at_the_end_of_the_grace(slow, connect, words):
    """It has a fifth of it for what it does at a signal."""
    run, pids = slow(*words, options=["--grace", "2s"])
    stream = connect()
    stream.ask("stream/20")
    stream.answer()
    began = time.monotonic()
    assert verb(run, "reload", "app").returncode == 0
    stream.wait_end()
    assert time.monotonic() - began > 1.6
    assert notes(run) == [f"pid {pids[1]}: 1 connection ends with it, 1 busy"]
    assert not run.find("SIGKILL")
    assert len(run.find("SIGTERM with 1 in progress")) == len(words)


def test_signal_first(slow, connect):
    run, pids = slow("term", options=["--signal-first"])
    busy = connect()
    busy.ask("wait")
    wait_busy(pids[1], busy)
    assert verb(run, "reload", "app").returncode == 0
    assert busy.wait_end() == b""
    assert run.find("SIGTERM with 1 in progress")


# ---- of a unix socket: open or closed is all that can be seen ----


@pytest.fixture
def slow_unix(slow, tmp_path):
    """The path, and as slow()."""
    def start(*options):
        path = tmp_path / "app.sock"
        return path, *slow("term", "fd", options=["--listen", f"unix://{path}", *options])

    return start


@pytest.mark.parametrize("order", [("reload", "app"), ("stop", "app")], ids=["reload", "stop"])
def test_unix_response_in_progress_is_finished(slow_unix, connect, order):
    path, run, pids = slow_unix("--grace", "600s", "--linger", "1s")
    busy, done = connect(path), connect(path)
    assert done.get("0") == pids[1]
    done.close()
    busy.ask("wait")
    over = Verb(run, *order)
    wait_until(lambda: drains(run, pids[1]), "it to drain")
    time.sleep(1.5)  # longer than the linger
    assert drains(run, pids[1])
    assert busy.go_on() == pids[1]
    busy.close()
    over.wait()
    assert run.find("SIGTERM with 0 in progress")
    assert not run.find("connection")


def test_unix_connection_that_is_kept(slow_unix, connect):
    """After half of the grace the program is told that the client has gone. What it still writes goes out."""
    path, run, pids = slow_unix("--grace", "3s")
    held, busy = connect(path), connect(path)
    assert held.get("0") == pids[1]
    busy.ask("2000")
    began = time.monotonic()
    over = Verb(run, "reload", "app")
    assert held.wait_end() == b""
    assert time.monotonic() - began > 1.5
    assert busy.answer() == pids[1]
    busy.wait_end()
    over.wait()
    assert notes(run) == [f"pid {pids[1]}: 2 connections were ended, of a unix socket: perhaps busy"]
    assert run.find("SIGTERM with 0 in progress")


def test_unix_connection_at_the_end_of_the_grace(slow_unix, connect):
    path, run, pids = slow_unix("--grace", "1s")
    stream = connect(path)
    stream.ask("stream/20")
    stream.answer()
    assert verb(run, "reload", "app").returncode == 0
    stream.wait_end()
    assert notes(run)[-1] == f"pid {pids[1]}: 1 connection ends with it, perhaps busy"
    assert run.find("SIGTERM with 1 in progress")
