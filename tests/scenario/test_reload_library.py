"""umbel_reload() and its events, told to tests/programs/reload.c; and the examples that show a reload."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from c_programs import EXAMPLES, TESTS, greeting, marked, program  # noqa: F401
from harness import SLOW, UMBEL, get, is_refused, wait_until

EPERM, ENOENT, EAGAIN, EBUSY, ESHUTDOWN, ECANCELED = 1, 2, 11, 16, 108, 125
SURGE_ALL = 2 ** 32 - 1


class Primary:
    """One that is told what to do."""

    def __init__(self, program, port, fifo, path, *args):
        self.port, self.fifo = port, fifo
        self.run = program(path, fifo, f"tcp://:{port}", *args)

    def write(self, text):
        fd = os.open(self.fifo, os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)

    def tell(self, order):
        """What comes of it: 0, -errno."""
        told = len(self.run.find(rf"^{order}: -?\d+"))
        self.write(f"{order}\n")
        return int(self.run.wait_for(rf"^{order}: (-?\d+)", count=told + 1)[1])

    def up(self, count):
        assert self.tell(f"scale {count}") == 0
        self.run.wait_for("^ready", count=count)
        self.pids = self.run.slots()
        return self

    def reloaded(self, generation, error=0):
        """Why, once it is over."""
        return self.run.wait_for(rf"^reloaded {-error} {generation} (.*)$")[1]

    def asked(self, count):
        """The answers, [(pid, generation, mark)]."""
        answers = [greeting(self.port).split() for _ in range(count)]
        return {(int(pid), int(generation), mark) for pid, generation, mark in answers}

    def alive(self):
        return ({int(m[1]) for m in self.run.find(r"^umbel: slot \d pid (\d+) started")}
                - {int(m[1]) for m in self.run.find(r"^gone \d (\d+)")})

    def old_serve_on(self):
        assert self.alive() == set(self.pids.values())
        assert self.asked(4 * len(self.pids)) == {(pid, 1, "-") for pid in self.pids.values()}

    def all_are(self, generation):
        pids = self.alive()
        assert len(pids) == len(self.run.slots())
        assert self.asked(20) == {(pid, generation, "-") for pid in pids}
        assert not pids & set(self.pids.values())


@pytest.fixture
def primary(program, port, tmp_path):
    """primary(SOAK_MS, ...): reload.c. It is a copy, which a test may replace."""
    os.mkfifo(tmp_path / "fifo")
    shutil.copy(TESTS / "reload", tmp_path / "program")
    return lambda *args: Primary(program, port, tmp_path / "fifo", tmp_path / "program", *args)


def place(run, line):
    return run.output("stdout").index(line)


def test_reload(primary):
    p = primary().up(2)
    assert p.tell("reload 0 0") == 0
    assert p.tell("reload 0 0") == -EBUSY
    assert re.match(r"generation 2 serves, after \d+\.\d s$", p.reloaded(2))
    p.all_are(2)
    new = p.run.slots()
    for slot, pid in p.pids.items():
        p.run.wait_for(f"^gone {slot} {pid} 1$")
        order = [f"ready {slot} {new[slot]} 2", f"drain {pid}", f"gone {slot} {pid} 1"]
        assert sorted(order, key=lambda line: place(p.run, line)) == order
    assert place(p.run, f"gone 1 {p.pids[1]} 1") < place(p.run, f"umbel: slot 2 pid {new[2]} started")
    assert not p.run.find("^empty|^failed")


def test_soak(primary):
    """No connection for the new one before its time; the old one is not told to leave before it."""
    p = primary(1000).up(1)
    assert p.tell("reload 0 0") == 0
    new = int(p.run.wait_for(r"^ready 1 (\d+) 2$")[1])
    ready = time.monotonic()
    assert p.asked(20) == {(p.pids[1], 1, "-")}
    p.run.wait_for("^drain")
    assert time.monotonic() - ready > 0.8
    p.reloaded(2)
    assert p.asked(5) == {(new, 2, "-")}


@pytest.mark.parametrize("mode, reason", [
    ("crash", "exited with 1, before it was ready"),
    ("late", "exited with 3, after it was ready"),
    ("deaf", "was not ready in 1.0 s"),
])
def test_undone(primary, mode, reason):
    p = primary(1000, 1000 if mode == "deaf" else 10000).up(2)
    assert p.tell(f"env MODE={mode}") == 0
    assert p.tell("reload 0 0") == 0
    assert re.match(rf"slot 1: the new worker \(pid \d+\) {reason}$", p.reloaded(2, ECANCELED))
    p.old_serve_on()
    assert p.tell("env MODE=") == 0
    assert p.tell("reload 0 0") == 0
    p.reloaded(3)
    p.all_are(3)


def test_program_gone(primary, tmp_path):
    p = primary().up(2)
    os.unlink(tmp_path / "program")
    p.tell("reload 0 0")
    assert "No such file or directory" in p.run.wait_for(r"^reloaded -\d+ 2 (.*)$")[1]
    p.old_serve_on()
    shutil.copy(TESTS / "reload", tmp_path / "program")
    p.tell("reload 0 0")
    p.reloaded(3)
    p.all_are(3)


def test_all_or_nothing(primary):
    p = primary(200, 10000, SURGE_ALL).up(3)
    p.tell("reload 0 0")
    p.reloaded(2)
    p.all_are(2)
    drains = [i for i, line in enumerate(p.run.output("stdout")) if line.startswith("drain")]
    for slot, pid in p.run.slots().items():
        assert place(p.run, f"ready {slot} {pid} 2") < min(drains)


def test_canary(primary):
    p = primary(300).up(2)
    assert p.tell("continue") == p.tell("undo") == -ENOENT
    assert p.tell("reload 1 0") == 0
    assert p.tell("continue") == -EAGAIN  # it soaks
    canary = int(p.run.wait_for(r"^ready 1 (\d+) 2$")[1])
    wait_until(lambda: (canary, 2, "-") in p.asked(2), "the canary to serve")
    assert p.asked(10) == {(canary, 2, "-"), (p.pids[2], 1, "-")}
    assert p.tell("reload 0 0") == -EBUSY
    assert p.tell("continue") == 0
    p.reloaded(2)
    assert p.run.slots()[1] == canary
    p.all_are(2)


def test_canary_undone(primary):
    p = primary().up(2)
    p.tell("reload 1 0")
    wait_until(lambda: 2 in {g for _, g, _ in p.asked(2)}, "the canary to serve")
    assert p.tell("undo") == 0
    assert p.reloaded(2, ECANCELED) == "undone by request"
    p.old_serve_on()
    assert p.tell("undo") == -ENOENT


def test_hold_over(primary):
    p = primary().up(2)
    p.tell("reload 1 1000")
    wait_until(lambda: 2 in {g for _, g, _ in p.asked(2)}, "the canary to serve")
    began = time.monotonic()
    p.reloaded(2)
    assert time.monotonic() - began > 0.5
    p.all_are(2)


def test_again_in_a_handler(primary):
    p = primary(50).up(2)
    p.tell("again 2")
    p.tell("reload 0 0")
    for generation in (2, 3, 4):
        p.reloaded(generation)
    p.run.wait_for("^again: 0$", count=2)
    p.all_are(4)


def test_forked_by_hand(primary):
    """It is replaced too, with the environment of its fork."""
    p = primary()
    p.tell("fork MARK=mine")
    p.run.wait_for("^ready")
    old = p.run.slots()[1]
    assert p.asked(3) == {(old, 1, "mine")}
    p.tell("reload 0 0")
    p.reloaded(2)
    new = p.run.slots()[1]
    assert new != old and p.asked(3) == {(new, 2, "mine")}


def test_no_worker(primary):
    p = primary()
    assert p.tell("reload 0 0") == 0
    p.reloaded(2)
    p.up(1)
    assert p.asked(2) == {(p.pids[1], 2, "-")}


def test_failed_slots_are_tried_again(primary):
    p = primary()
    p.tell("env MODE=crash")
    p.tell("scale 2")
    assert "every slot has failed" in p.run.wait_for("^failed 0 -?[1-9][0-9]* (.*)$")[1]
    p.run.wait_for("^empty$")
    assert is_refused(p.port)
    p.pids = {}
    p.tell("env MODE=")
    assert p.tell("reload 0 0") == 0
    p.reloaded(2)
    p.run.wait_for(r"^ready \d \d+ 2$", count=2)
    p.all_are(2)


def test_stop(primary):
    p = primary(1000).up(2)
    p.tell("reload 0 0")
    p.run.wait_for("^ready", count=3)
    p.write("stop\nreload 0 0\n")  # at once: it may be over soon
    p.run.wait_for("^stop: 0$")
    p.run.wait_for(rf"^reload 0 0: -{ESHUTDOWN} ")
    assert "stopping" in p.reloaded(2, ESHUTDOWN)
    assert p.run.wait() == 0
    assert len(p.run.find("^gone")) == 3
    assert p.run.find("^over: 0$") and p.run.output("stdout")[-3] == "empty"


def test_close(primary):
    p = primary(1000).up(2)
    p.tell("reload 0 0")
    p.run.wait_for("^ready", count=3)
    p.write("close\n")
    assert p.run.wait() == 0
    wait_until(lambda: not marked(p.run.token), "its workers to end")


def test_wrong_role(primary):
    p = primary()
    p.tell("env MODE=role")
    p.up(1)
    p.run.wait_for(rf"^role -{EPERM} -{EPERM}$")


# ---- examples/rolling ----


def answers(port, count):
    return {get(port).decode().strip() for _ in range(count)}


def test_rolling(program, port, tmp_path):
    shutil.copy(EXAMPLES / "rolling", tmp_path / "rolling")
    run = program(tmp_path / "rolling", port, 2)
    old = {m[1]: m[2] for m in (run.wait_for(r"^READY +slot (\d), pid (\d+), generation 1$", count=n)
                                for n in (1, 2))}
    assert answers(port, 4) == {"generation 1, slot 1", "generation 1, slot 2"}

    run.send(signal.SIGHUP)
    run.wait_for("^RELOADED  generation 2: generation 2 serves, after")
    assert answers(port, 4) == {"generation 2, slot 1", "generation 2, slot 2"}
    for slot, pid in old.items():
        run.wait_for(rf"^DRAIN +slot {slot}, pid {pid}$")
        run.wait_for(rf"^GONE +slot {slot}, pid {pid}, generation 1, as it was asked to$")
        run.wait_for(rf"^READY +slot {slot}, pid \d+, generation 2$")

    (tmp_path / "new").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "new").chmod(0o755)
    os.rename(tmp_path / "new", tmp_path / "rolling")
    run.send(signal.SIGHUP)
    run.wait_for(r"^RELOADED  generation 3 undone: slot 1: the new worker \(pid \d+\) exited with 7, before")
    assert answers(port, 4) == {"generation 2, slot 1", "generation 2, slot 2"}

    shutil.copy(EXAMPLES / "rolling", tmp_path / "new")
    os.rename(tmp_path / "new", tmp_path / "rolling")
    pid = int(run.find(r"^READY +slot 2, pid (\d+), generation 2$")[0][1])
    os.kill(pid, signal.SIGKILL)
    run.wait_for(rf"^GONE +slot 2, pid {pid}, generation 2: it ended by itself$")
    run.wait_for(r"^READY +slot 2, pid \d+, generation 2$", count=2)
    assert not run.find("^EMPTY")
    assert run.stop() == 0
    assert run.output("stdout")[-1].startswith("EMPTY ")


def test_rolling_cannot_listen(program, port):
    with socket.socket(socket.AF_INET6) as s:
        s.bind(("::", port))
        s.listen()
        run = program(EXAMPLES / "rolling", port, 2)
        assert run.wait() == 1
    assert run.find(rf"^FAILED    cannot listen on tcp://:{port}: Address already in use: pid {os.getpid()} ")
    assert run.find("^FAILED    every slot has failed")
    assert run.output("stdout")[-1].startswith("EMPTY ")


def reload_by_command(run, name="app"):
    return subprocess.run([UMBEL, "reload", name], env=os.environ | {"UMBEL_HOME": str(run.home)},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30 * SLOW)


def test_rolling_under_the_command(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--soak", "200ms", "--", EXAMPLES / "rolling", port)
    run.wait_listening(2)
    assert answers(port, 4) == {"generation 1, slot 1", "generation 1, slot 2"}
    assert reload_by_command(run).returncode == 0
    assert answers(port, 4) == {"generation 2, slot 1", "generation 2, slot 2"}


# ---- examples/hello_http: connections that are kept alive ----


class Kept:
    """A connection that stays open, and the worker it came to."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10 * SLOW)
        self.pid = int(re.search(r"pid (\d+)", self.ask())[1])

    def ask(self):
        self.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = self.socket.recv(4096).decode()
        assert answer.startswith("HTTP/1.1 200 ")
        return answer

    def wait_end(self):
        """When it ended; a reset is an OSError."""
        with self.socket:
            assert self.socket.recv(4096) == b""
        return time.monotonic()


def test_kept_connections_of_hello_http(umbel, port):
    if not (EXAMPLES / "hello_http").exists():
        pytest.skip("examples/hello_http was not built: its library is not here")
    run = umbel("-n", 1, "--name", "app", "--soak", "200ms", "--", EXAMPLES / "hello_http", port)
    pid = run.wait_listening(1)[1]
    asks, idle = [Kept(port) for _ in range(4)], [Kept(port) for _ in range(4)]
    assert {k.pid for k in asks + idle} == {pid}
    assert "close" not in asks[0].ask().lower()
    run.send(signal.SIGHUP)
    run.wait_for(rf"takes over from pid {pid}$")
    began = time.monotonic()
    time_to_think = (1.0 - 0.25 * n for n in range(4))
    for kept, seconds in zip(asks[::-1], list(time_to_think)[::-1]):
        wait_until(lambda: time.monotonic() - began > seconds, "the client to think")
        answer = kept.ask()
        assert "connection: close" in answer.lower() and f"pid {pid}" in answer
        kept.wait_end()
    ends = [kept.wait_end() - began for kept in idle]
    assert min(ends) > 1.4 and max(ends) < 1.5 + 2 * SLOW, ends
    run.wait_for(rf"slot 1 pid {pid} left")
    assert Kept(port).pid == run.slots()[1] != pid
