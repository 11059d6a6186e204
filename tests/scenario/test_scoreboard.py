"""The scoreboard: what a C worker counts there, seen from its primary, which is this file; and what umbel's own
primary does with it."""
import fcntl
import mmap
import os
import resource
import signal
import socket
import struct
import time

import control
import pytest
from c_programs import TESTS
from harness import PROGRAMS, SLOW, wait_until
from test_c_worker_wire import ACK, Worker

UNDER_NODE = TESTS / "under_node"
NAMES = "received", "taken", "finished", "began_us", "ended_us", "lost", "heartbeat"
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Board:
    """A page as libumbel's primary makes it."""

    def __init__(self):
        self.fd = os.memfd_create("board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, 4096)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)
        self.page = mmap.mmap(self.fd, 4096, prot=mmap.PROT_READ)

    def read(self):
        return dict(zip(NAMES, struct.unpack_from("=7Q", self.page)))

    def active(self):
        now = self.read()
        return now["taken"] - now["finished"]

    def close(self):
        self.page.close()
        os.close(self.fd)


@pytest.fixture
def board():
    board = Board()
    yield board
    board.close()


@pytest.fixture
def with_lane(port):
    """A worker with a lane, and perhaps a scoreboard; it serves number 5."""
    opened = []

    def start(board=None, **popen):
        w = Worker(f"tcp://127.0.0.1:{port}", env={"UMBEL_WORKER": "1"}, **popen)
        w.lane, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        opened.extend([w, theirs])
        w.read("online")
        hello = w.read()
        assert hello["cmd"] == "NODE_UMBEL_HELLO" and hello["scoreboard"] is True
        query = w.read("queryServer")
        w.send(theirs.fileno(), "umbel.Lane", cmd="NODE_UMBEL_LANE")
        assert w.read() == ACK
        if board is not None:
            w.send(board, "umbel.Scoreboard", cmd="NODE_UMBEL_SCOREBOARD")
            assert w.read() == ACK
        w.answer(query, lane=5, sockname={"address": "127.0.0.1", "family": "IPv4", "port": port})
        w.read("listening")
        return w

    yield start
    for w, theirs in zip(opened[::2], opened[1::2]):
        if w.process.poll() is None:
            w.process.kill()
            w.process.wait()
        w.process.stderr.close()
        w.channel.close()
        w.lane.close()
        theirs.close()


def hand_over(w, count=1):
    """Our ends of so many connections, sent in one message."""
    pairs = [socket.socketpair() for _ in range(count)]
    socket.send_fds(w.lane, [bytes([5] * count)], [theirs.fileno() for _, theirs in pairs])
    for _, theirs in pairs:
        theirs.close()
    return [ours for ours, _ in pairs]


def close_all(sockets):
    for each in sockets:
        each.close()


def leave(w):
    w.channel.close()
    assert w.end() == (0, "")


def test_counts(with_lane, board):
    """Each connection from its taking to its end, with the times; the lane's apart from newconn's."""
    w = with_lane(board.fd)
    wait_until(lambda: board.read()["heartbeat"] > 0, "the page to be written")
    assert board.active() == 0
    clients = hand_over(w, 3)
    assert {int(c.makefile().readline()) for c in clients} == {w.process.pid}
    now = board.read()
    assert (now["received"], now["taken"], now["finished"], now["lost"]) == (3, 3, 0, 0)
    assert now["began_us"] > 0 and now["ended_us"] == 0
    ours, theirs = socket.socketpair()
    w.send(theirs.fileno(), act="newconn", key="key 1")
    theirs.close()
    assert w.read() == ACK and w.read()["accepted"] is True
    wait_until(lambda: board.read()["taken"] == 4, "a newconn to be counted")
    close_all([*clients, ours])
    wait_until(lambda: board.active() == 0, "all of them to be finished")
    now = board.read()
    assert (now["received"], now["taken"], now["finished"], now["lost"]) == (3, 4, 4, 0)
    assert 0 < now["ended_us"] - now["began_us"] < 4 * 60_000_000
    leave(w)


def test_a_stopped_worker(with_lane, board):
    """What it has not read yet is not received; its heart stands still."""
    w = with_lane(board.fd)
    first = hand_over(w)[0]
    assert first.makefile().readline()
    wait_until(lambda: board.read()["received"] == 1, "the first one")
    os.kill(w.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, w.process.pid, os.WSTOPPED | os.WNOWAIT)
    before = board.read()
    second = hand_over(w)[0]
    assert board.read() == before
    os.kill(w.process.pid, signal.SIGCONT)
    assert second.makefile().readline()
    now = board.read()
    assert now["received"] == 2 and now["heartbeat"] > before["heartbeat"]
    close_all([first, second])
    leave(w)


def not_sealed():
    fd = os.memfd_create("board", os.MFD_CLOEXEC)
    os.ftruncate(fd, 4096)
    return fd


def a_pipe():
    reader, writer = os.pipe()
    os.close(writer)
    return reader


@pytest.mark.parametrize("what", ["none", "lost", "a pipe", "not sealed"])
def test_without(with_lane, what):
    """One that does not come, or is none, costs nothing."""
    fd = {"a pipe": a_pipe, "not sealed": not_sealed}.get(what, lambda: None)()
    if what == "lost":
        w = with_lane()
        w.write({"cmd": "NODE_HANDLE", "type": "umbel.Scoreboard", "msg": {"cmd": "NODE_UMBEL_SCOREBOARD"}})
        assert w.read() == {"cmd": "NODE_HANDLE_NACK"}
    else:
        w = with_lane(fd)
    if fd is not None:
        os.close(fd)
    client, = hand_over(w)
    assert client.makefile().readline()
    client.close()
    leave(w)


# ---- under umbel's own primary ----

LIMITED = "ulimit -n 60; exec \"$@\""
MOST = 60 - 16  # and what is open from the start


class Clients:
    """Connections that are told the worker's pid when they are served, and stay."""

    def __init__(self, port):
        self.port, self.waiting, self.served = port, [], []

    def open(self, count):
        for _ in range(count):
            s = socket.create_connection(("127.0.0.1", self.port))
            s.setblocking(False)
            self.waiting.append(s)

    def look(self):
        """How many are served. None may end."""
        for s in self.waiting[:]:
            try:
                assert s.recv(100), "a connection was lost"
            except BlockingIOError:
                continue
            self.waiting.remove(s)
            self.served.append(s)
        return len(self.served)

    def end(self, count=None):
        ended, self.served = self.served[:count], self.served[len(self.served[:count]):]
        close_all(ended)
        return len(ended)


@pytest.fixture
def clients(port):
    clients = Clients(port)
    yield clients
    close_all(clients.waiting + clients.served)


def test_the_limit_of_descriptors(umbel, port, clients):
    """A worker is given no more than it has descriptors for; what is finished makes room for others; nothing
    is lost."""
    run = umbel("-n", 1, "--policy", "rr", "--share", "channel", "--", "sh", "-c", LIMITED, "sh", UNDER_NODE,
                f"tcp://127.0.0.1:{port}")
    pid = run.wait_listening(1)[1]
    clients.open(100)
    wait_until(lambda: clients.look() >= MOST - 20, "it to be full")
    settle(clients)
    full = len(clients.served)
    assert MOST - 20 <= full < MOST
    for _ in range(2):
        clients.end(10)
        wait_until(lambda: clients.look() == full, "others to come up")
        settle(clients)
        assert clients.look() == full
    while clients.waiting:
        clients.end()
        wait_until(lambda: clients.look() > 0, "the rest")
    assert run.slots()[1] == pid
    assert not run.find("lost connections")


def settle(clients, seconds=0.2):
    """Nobody is served for so long."""
    last = clients.look(), time.monotonic()

    def is_quiet():
        nonlocal last
        now = clients.look()
        if now != last[0]:
            last = now, time.monotonic()
        return time.monotonic() - last[1] > seconds
    wait_until(is_quiet, "no more to be served")


def test_a_raised_limit(umbel, port, clients):
    """It counts from the moment when the old one is reached."""
    run = umbel("-n", 1, "--policy", "rr", "--share", "channel", "--", "sh", "-c", "ulimit -S -n 60; exec \"$@\"",
                "sh", UNDER_NODE, f"tcp://127.0.0.1:{port}")
    pid = run.wait_listening(1)[1]
    clients.open(10)
    wait_until(lambda: clients.look() == 10, "the first ones")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (200, 200))
    clients.open(90)
    wait_until(lambda: clients.look() == 100, "all of them")


def test_lost_connections_are_noted(umbel, port, clients):
    """The limit was lowered, and nobody said so: what is sent then is lost. Both sides say it, once."""
    run = umbel("-n", 1, "--policy", "rr", "--share", "channel", "--", UNDER_NODE, f"tcp://127.0.0.1:{port}")
    pid = run.wait_listening(1)[1]
    clients.open(1)
    wait_until(lambda: clients.look() == 1, "the first one")
    highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, highest + 1))
    for _ in range(30):
        socket.create_connection(("127.0.0.1", port)).close()
    run.wait_for("this worker is out of descriptors")
    run.wait_for(f"pid {pid} has lost connections: it was out of descriptors")
    wait_until(lambda: run.slots().get(1) not in (None, pid), "its successor")
    assert len(run.find("has lost connections")) == 1


def test_a_worker_that_writes_nonsense(umbel, port, tmp_path):
    """Whatever it writes, and however it treats the page: the primary lives, and so does the other worker."""
    run = umbel("-n", 2, "--policy", "least", "--share", "channel", "--", "python3", PROGRAMS / "scribbler.py",
                port, tmp_path / "file", UNDER_NODE, f"tcp://127.0.0.1:{port}")
    run.wait_for("scribbles")
    other = run.wait_listening(2)[2]
    for _ in range(100):
        assert greeting_pid(port) in (other, None)
    assert run.slots()[2] == other
    assert {w["slot"] for w in control.status(run, "scribbler")["workers"]} == {1, 2}


def greeting_pid(port):
    """None: the scribbler had it, and closed it."""
    with socket.create_connection(("127.0.0.1", port), 20 * SLOW) as s:
        line = s.makefile().readline()
        return int(line) if line else None
