"""How workers leave: drained, then signalled, killed at the end of the grace; and when the primary dies."""
import os
import re
import signal
import socket
import threading
import time

import pytest
from c_programs import TESTS, Talk
from control import Events, Held, KeepAlive, exits, status, why
from harness import SLOW, get, wait_until


class Database(threading.Thread):
    """Takes connections and never ends one."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.clients = []
        self.start()

    def run(self):
        try:
            while True:
                self.clients.append(self.socket.accept()[0])
        except OSError:  # closed
            pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join()
        for s in [self.socket, *self.clients]:
            s.close()


@pytest.fixture
def database():
    it = Database()
    yield it
    it.close()


def leaving(umbel, port, database, *words, n=2, options=()):
    """A run of leaving.js whose workers are all connected to the database."""
    run = umbel("-n", n, "--name", "app", *options, "--", "node", "leaving.js", port, database.port, *words)
    run.pids = run.wait_listening(n)
    wait_until(lambda: len(database.clients) == n, "the workers' connections to the database")
    return run


def hold(run, port, count):
    """Requests in progress, one in each worker."""
    held = [Held(port) for _ in range(count)]
    run.wait_for(r"^\[\d+\] request$", count=count)
    assert len({m[1] for m in run.find(r"^\[(\d+)\] request$")}) == count
    return held


# ---- drain first, the signal when it is drained ----

@pytest.mark.parametrize("options", [(), ("--no-node-preload",)], ids=["preload", "no preload"])
def test_a_timer_and_a_database_keep_nobody(umbel, port, database, options):
    run = leaving(umbel, port, database, options=options)
    held = hold(run, port, 2)
    events = Events(run)
    run.send()
    run.wait_for("^umbel: stopping 2 workers$")
    for request in held:
        pid = int(request.finish())
        begin = time.monotonic()
        ended = events.wait_for("exit")
        assert time.monotonic() - begin < 1 * SLOW
        assert (ended["pid"], ended["asked"]) == (pid, True)
        assert (ended["signal"], ended["code"]) == ("TERM", None)  # it had no handler
    events.close()
    assert run.wait() == 0
    assert len(run.find(r"^umbel: slot \d pid \d+ left after ")) == 2


def test_idle_ones_are_gone_at_once(umbel, port, database):
    run = leaving(umbel, port, database)
    begin = time.monotonic()
    assert run.stop() == 0
    assert time.monotonic() - begin < 1 * SLOW


def test_a_handler_runs_to_its_end(umbel, port, database):
    run = leaving(umbel, port, database, "works", 500)
    held = hold(run, port, 2)
    events = Events(run)
    run.send()
    run.wait_for("^umbel: stopping")
    assert not run.find("work begins")
    for request in held:
        request.finish()
        begin = time.monotonic()
        ended = events.wait_for("exit")
        assert 0.45 < time.monotonic() - begin < 0.5 + 1 * SLOW
        assert (ended["code"], ended["signal"], ended["asked"]) == (0, None, True)
    events.close()
    assert run.wait() == 0
    assert len(run.find("work is done")) == 2


def test_a_request_is_not_cut_by_the_signal(umbel, port, database):
    """The signal waits for the request; the request does not wait for the signal."""
    run = leaving(umbel, port, database, "drains", n=1)
    (held,) = hold(run, port, 1)
    run.send()
    wait_until(lambda: status(run)["workers"][0]["state"] == "draining", "a worker that drains")
    # Longer than the connections that are marked may stay.
    wait_until(lambda: status(run)["workers"][0]["uptime_s"] > 4, "time to pass")
    assert not run.find("came$")
    assert int(held.finish()) == run.pids[1]
    assert run.wait() == 0


# ---- the grace ----

@pytest.mark.parametrize("words", [("deaf",), ("deaf", "busy")], ids=["idle", "with a request"])
def test_grace(umbel, port, database, words):
    run = leaving(umbel, port, database, *words, n=1, options=["--grace", "700ms"])
    held = hold(run, port, 1) if "busy" in words else []
    begin = time.monotonic()
    assert run.stop() == 0
    assert 0.65 < time.monotonic() - begin < 0.7 + 1 * SLOW
    assert run.find(rf"^umbel: slot 1: pid {run.pids[1]} did not leave within its grace: SIGKILL$")
    assert run.find(rf"^umbel: slot 1 pid {run.pids[1]} killed by SIGKILL after ")
    for request in held:
        request.socket.close()


def test_grace_of_a_c_worker(umbel, port):
    run = umbel("-n", 1, "--grace", "700ms", "--", TESTS / "serve", f"tcp://:{port}")
    run.wait_listening(1)
    client = Talk(port)
    begin = time.monotonic()
    assert run.stop() == 0
    assert 0.65 < time.monotonic() - begin < 0.7 + 1 * SLOW
    assert run.find("did not leave within its grace: SIGKILL$") and run.find("killed by SIGKILL")
    client.socket.close()


def test_a_c_worker_finishes(umbel, port):
    run = umbel("-n", 1, "--", TESTS / "serve", f"tcp://:{port}")
    run.wait_listening(1)
    client = Talk(port)
    run.send()
    run.wait_for("^umbel: stopping")
    assert client.ask("x") == "done\n"
    begin = time.monotonic()
    assert run.wait() == 0
    assert time.monotonic() - begin < 1 * SLOW
    assert run.find("left after")


def test_who_leaves_by_its_own_wish_has_its_grace_too(umbel, port, database):
    run = leaving(umbel, port, database, "wishes", n=1, options=["--grace", "700ms"])
    events = Events(run)
    begin = time.monotonic()
    os.kill(run.pids[1], signal.SIGUSR2)
    ended = events.wait_for("exit")
    events.close()
    assert 0.65 < time.monotonic() - begin < 0.7 + 1 * SLOW
    assert (ended["pid"], ended["signal"], ended["asked"]) == (run.pids[1], "KILL", True)
    assert run.find("did not leave within its grace: SIGKILL$")
    assert int(get(port)) == run.wait_successor(1, run.pids[1])
    assert not run.find("crashes in a row")


# ---- which signal, and when ----

@pytest.mark.parametrize("name", ["INT", "SIGINT", str(int(signal.SIGINT))])
def test_stop_signal(umbel, port, database, name):
    run = leaving(umbel, port, database, "drains", options=["--stop-signal", name])
    assert run.stop() == 0
    assert len(run.find(r"^\[\d\] SIGINT came$")) == 2 == len(run.find("came$"))
    assert len(run.find("left after")) == 2


def test_stop_signal_without_a_handler(umbel, port, database):
    run = leaving(umbel, port, database, n=1, options=["--stop-signal", "HUP"])
    assert run.stop() == 0
    assert run.find("left after")


def check_told_first(run, port, word):
    """The program is told while its request is in progress, and drains by itself."""
    (held,) = hold(run, port, 1)
    run.send()
    run.wait_for(rf"^\[1\] {word} came$")
    assert int(held.finish()) == run.pids[1]
    assert run.wait() == 0
    assert len(run.find("came$")) == 1
    assert run.find("slot 1 pid .* left after")


@pytest.mark.parametrize("options, word", [((), "SIGTERM"), (("--stop-signal", "INT"), "SIGINT")])
def test_signal_first(umbel, port, database, options, word):
    run = leaving(umbel, port, database, "drains", n=1, options=["--signal-first", *options])
    check_told_first(run, port, word)


def test_shutdown_with_message(umbel, port, database):
    run = leaving(umbel, port, database, "drains", n=1, options=["--shutdown-with-message"])
    check_told_first(run, port, "shutdown")


def test_a_message_that_is_not_heard(umbel, port, database):
    run = leaving(umbel, port, database, n=1, options=["--shutdown-with-message", "--grace", "700ms"])
    begin = time.monotonic()
    assert run.stop() == 0
    assert 0.65 < time.monotonic() - begin < 0.7 + 1 * SLOW
    assert run.find("did not leave within its grace: SIGKILL$")


# ---- clients that keep their connection ----

def preloads(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return re.findall(rb"NODE_OPTIONS=[^\0]*umbel-preload", file.read())


def test_keep_alive_is_ended_by_a_marked_response(umbel, port, database):
    run = leaving(umbel, port, database)
    clients = [KeepAlive(port) for _ in range(8)]
    for client in clients:
        assert client.get()[1], "marked too early"
    run.send()
    run.wait_for("^umbel: stopping")
    begin = time.monotonic()
    answered = 0
    while clients:  # each goes on until it is told not to: no request may be lost
        for client in list(clients):
            answered += 1
            if not client.get()[1]:
                assert client.is_ended()
                client.close()
                clients.remove(client)
    assert time.monotonic() - begin < 1.5
    assert answered >= 8
    assert run.wait() == 0


def test_idle_keep_alive_is_cut_in_the_end(umbel, port, database):
    run = leaving(umbel, port, database, n=1)
    assert preloads(run.pids[1])
    client = KeepAlive(port)
    client.get()
    begin = time.monotonic()
    run.send()
    assert client.is_ended()
    assert 1.4 < time.monotonic() - begin < 1.5 + 1 * SLOW
    assert run.wait() == 0
    client.close()


def test_no_node_preload(umbel, port, database):
    """As Node does it alone: idle connections are cut in the moment of leaving."""
    run = leaving(umbel, port, database, n=1, options=["--no-node-preload"])
    assert not preloads(run.pids[1])
    client = KeepAlive(port)
    client.get()
    begin = time.monotonic()
    run.send()
    assert client.is_ended()
    assert time.monotonic() - begin < 1
    assert run.wait() == 0
    client.close()


# ---- the primary dies ----

def test_node_workers_leave_a_dead_primary(umbel, port, database):
    run = leaving(umbel, port, database)
    client = KeepAlive(port)
    client.get()
    held = Held(port)
    run.kill()  # waits for the end of all
    client.close()
    held.socket.close()


def test_c_workers_leave_a_dead_primary(umbel, port):
    run = umbel("-n", 2, "--grace", "700ms", "--", TESTS / "serve", f"tcp://:{port}")
    run.wait_listening(2)
    busy, lasting = Talk(port), Talk(port)
    run.process.kill()
    assert busy.ask("x") == "done\n"  # what is there is finished
    run.kill()  # and who goes on for ever is given the grace
    lasting.socket.close()
