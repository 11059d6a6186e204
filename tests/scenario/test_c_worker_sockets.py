"""What a C worker makes of listening sockets that come with an answer, and what it asks of them. The primary is
this file, as in test_c_worker_wire."""
import contextlib
import errno
import os
import signal
import socket

import pytest
from harness import SLOW, stat, wait_until
from node_primary import cpu_seconds
from test_c_worker_wire import ACK, worker  # noqa: F401


def descriptors(pid):
    folder, found = f"/proc/{pid}/fd", set()
    for number in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(f"{folder}/{number}"))
    return found


def test_options(worker):
    """They go as umbel's field, and as Node's own where Node has them: its primary takes no host for both
    families, so that one has to be named."""
    w = worker("tcp://:0?ipv6_only&backlog=511&defer_accept=5&fast_open=256")
    w.read("online")
    query = w.read("queryServer")
    assert query == {"cmd": "NODE_CLUSTER", "act": "queryServer", "index": 0, "data": None, "backlog": 511,
                     "address": "::", "port": 0, "addressType": 6, "flags": 1, "seq": 1,
                     "options": "backlog=511&ipv6_only&defer_accept=5&fast_open=256"}
    w.answer(query, sockname={"address": "::", "family": "IPv6", "port": 4711})
    assert w.read("listening")["port"] == 4711
    w.write("tcp://:0")  # unlisten: the options are no part of the name
    w.read("close")
    w.channel.close()
    assert w.end() == (0, "")


def test_wrong_options(worker):
    w = worker("tcp://127.0.0.1:0?backlog=many")
    w.read("online")
    status, errors = w.end()
    assert status == 1 and "backlog must be a number from 1 to 65535" in errors


def test_backlog_of_a_shared_socket(worker, port):
    """Whoever listens first says it: one that listens already keeps its own (so too one that is shut down)."""
    for theirs in (None, 3):
        w = worker(f"tcp://127.0.0.1:{port}?backlog=7")
        w.read("online")
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
            if theirs:
                s.listen(theirs)
            w.answer(w.read("queryServer"), s.fileno())
            assert w.read() == ACK
            w.read("listening")
            info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            assert int.from_bytes(info[28:32], "little") == (theirs or 7)  # tcpi_sacked: the backlog
        w.channel.close()
        assert w.end() == (0, "")


def test_steered_and_handed_over(worker, port):
    """A socket of its own and a number in the lane in one reply: connections come both ways, and as newconn;
    what is in the lane when it leaves is served, what is in the socket is left to the primary."""
    w = worker(f"tcp://127.0.0.1:{port}", env={"UMBEL_WORKER": "1"})
    w.read("online")
    assert w.read()["cmd"] == "NODE_UMBEL_HELLO"
    lane, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.socket() as side, lane, theirs:
        side.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        side.bind(("127.0.0.1", port))
        side.listen()
        query = w.read("queryServer")
        w.send(theirs.fileno(), "umbel.Lane", cmd="NODE_UMBEL_LANE")
        assert w.read() == ACK
        w.answer(query, side.fileno(), lane=200)
        assert w.read() == ACK
        w.read("listening")

        def hand_over():
            ours, given = socket.socketpair()
            with given:
                socket.send_fds(lane, [bytes([200])], [given.fileno()])
            return ours

        clients = [socket.create_connection(("127.0.0.1", port)), hand_over()]
        ours, given = socket.socketpair()
        w.send(given.fileno(), act="newconn", key="key 1")
        given.close()
        assert w.read() == ACK and w.read()["accepted"] is True
        clients.append(ours)
        assert {int(c.makefile().readline()) for c in clients} == {w.process.pid}

        os.kill(w.process.pid, signal.SIGSTOP)
        wait_until(lambda: stat(w.process.pid)[0] == "T", "the worker to stop")
        clients.append(hand_over())
        w.send(act="disconnect")
        os.kill(w.process.pid, signal.SIGCONT)
        assert int(clients[-1].makefile().readline()) == w.process.pid
        assert w.is_quiet()  # libumbel's primary needs no close
        with socket.create_connection(("127.0.0.1", port)):
            side.settimeout(15 * SLOW)
            side.accept()[0].close()
        for c in clients:
            c.close()
        assert w.read() is None
    assert w.end() == (0, "")


def test_a_socket_of_its_own(worker, port):
    """umbel_listen_socket(): the question says so, the program gets the socket, once, and what is handed over all
    the same is refused, or closed."""
    w = worker(f"+tcp://127.0.0.1:{port}?backlog=9", env={"UMBEL_WORKER": "1"})
    w.read("online")
    w.read()
    lane, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.socket() as side, lane, theirs:
        side.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        side.bind(("127.0.0.1", port))
        query = w.read("queryServer")
        assert query["accepts"] is True and query["options"] == "backlog=9"
        w.send(theirs.fileno(), "umbel.Lane", cmd="NODE_UMBEL_LANE")
        w.answer(query, side.fileno(), lane=3)
        assert [w.read(), w.read()] == [ACK, ACK]
        assert w.read("listening")["port"] == port
        assert not os.get_blocking(side.fileno())
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        assert {int(c.makefile().readline()) for c in clients} == {w.process.pid}
        ours, given = socket.socketpair()
        w.send(given.fileno(), act="newconn", key="key 1")
        assert w.read() == ACK and w.read()["accepted"] is False
        socket.send_fds(lane, [bytes([3])], [given.fileno()])
        given.close()
        assert ours.recv(1) == b""
        ours.close()
        for c in clients:
            c.close()
        link = f"socket:[{os.fstat(side.fileno()).st_ino}]"
        assert link in descriptors(w.process.pid)
        w.send(act="disconnect")
        assert w.read() is None
    assert w.end() == (0, "")


@pytest.mark.parametrize("answer", ["no socket", "refused"])
def test_no_socket_of_its_own(worker, port, answer):
    """Where the primary accepts: Node's does not know the question, libumbel's says no."""
    w = worker(f"+tcp://127.0.0.1:{port}")
    w.read("online")
    query = w.read("queryServer")
    if answer == "refused":
        w.send(errno=-errno.EOPNOTSUPP, key="k", ack=query["seq"], data=None)
    else:
        w.answer(query, sockname={"address": "127.0.0.1", "family": "IPv4", "port": port})
        assert w.read("close")["key"] == "key 1"
    status, errors = w.end()
    assert status == 1 and "needs the policy sticky, spread or shared" in errors


def test_no_udp_socket_of_its_own(worker, port):
    w = worker(f"+udp://127.0.0.1:{port}")
    w.read("online")
    status, errors = w.end()
    assert status == 1 and "of udp umbel_listen() gives the socket" in errors


@pytest.mark.parametrize("way", ["unlisten", "shutdown"])
def test_a_side_is_given_up(worker, port, way):
    """By the worker: it is neither woken nor served by it any more, but still has the lane's. By somebody who shut
    it down: the worker keeps it, and does not spin, since the primary listens on it again."""
    w = worker(f"tcp://127.0.0.1:{port}", env={"UMBEL_WORKER": "1"})
    w.read("online")
    w.read()
    lane, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.socket() as side, lane, theirs:
        side.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        side.bind(("127.0.0.1", port))
        side.listen()
        query = w.read("queryServer")
        w.send(theirs.fileno(), "umbel.Lane", cmd="NODE_UMBEL_LANE")
        w.answer(query, side.fileno(), lane=3)
        assert [w.read(), w.read()] == [ACK, ACK]
        w.read("listening")
        if way == "unlisten":
            w.write(f"tcp://127.0.0.1:{port}")
            w.read("close")
        else:
            side.shutdown(socket.SHUT_RDWR)
        link = f"socket:[{os.fstat(side.fileno()).st_ino}]"
        if way == "unlisten":
            wait_until(lambda: link not in descriptors(w.process.pid), "its copy to be closed")
            with socket.create_connection(("127.0.0.1", port)):
                assert cpu_seconds(w.process.pid, 1) < 0.05
        else:
            assert cpu_seconds(w.process.pid, 1) < 0.05
            side.listen()
            with socket.create_connection(("127.0.0.1", port)) as client:
                assert client.makefile().readline()
        ours, given = socket.socketpair()
        with given:
            socket.send_fds(lane, [bytes([3])], [given.fileno()])
        assert int(ours.makefile().readline()) == w.process.pid
        ours.close()
    w.channel.close()
    assert w.end() == (0, "")
