"""The scoreboard: what a C worker counts there, seen from its primary, which is this file."""
import fcntl
import mmap
import os
import signal
import socket
import struct

import pytest
from harness import wait_until
from test_c_worker_wire import ACK, Worker

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
