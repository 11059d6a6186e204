"""What a C worker says on the wire, and what it makes of a primary that behaves oddly. The primary is
this file: it speaks Node's side by hand."""
import array
import errno
import json
import os
import select
import socket
import subprocess
import time

import pytest
from c_programs import TESTS
from harness import SANITIZER, SLOW, is_refused
from node_primary import cpu_seconds

ACK, NACK = {"cmd": "NODE_HANDLE_ACK"}, {"cmd": "NODE_HANDLE_NACK"}


class Worker:
    """tests/programs/under_node with our end of its channel."""

    def __init__(self, *addresses, env=None, **popen):
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(15 * SLOW)
        self.process = subprocess.Popen(
            [TESTS / "under_node", *addresses], pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True,
            env={**os.environ, "NODE_CHANNEL_FD": str(theirs.fileno()), "NODE_UNIQUE_ID": "1", **(env or {})},
            **popen)
        theirs.close()
        self.rest, self.seq, self.seqs, self.fds = b"", 0, [], []

    def read(self, act=None):
        """The next message; it has to be of that kind. None: the end."""
        while b"\n" not in self.rest:
            chunk, fds, _, _ = socket.recv_fds(self.channel, 1 << 16, 8)
            self.fds += fds
            if not chunk:
                assert self.rest == b"" and act is None
                return None
            self.rest += chunk
        line, self.rest = self.rest.split(b"\n", 1)
        message = json.loads(line)
        if "seq" in message:
            self.seqs.append(message["seq"])
        assert act is None or message.get("act") == act, message
        return message

    def is_quiet(self, seconds=0.3):
        return not self.rest and not select.select([self.channel], [], [], seconds)[0]

    def send(self, fd=None, kind="net.Native", **message):
        message = {"cmd": "NODE_CLUSTER", "seq": self.seq, **message}
        self.seq += 1
        if kind and fd is not None:
            message = {"cmd": "NODE_HANDLE", "type": kind, "msg": message}
        self.write(message, fd)

    def write(self, message, fd=None):
        fds = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd not in (None, -1) else []
        self.channel.sendmsg([json.dumps(message, separators=(",", ":")).encode() + b"\n"], fds)

    def answer(self, query, fd=None, **more):
        self.send(fd, errno=0, key=f"key {query['seq']}", ack=query["seq"], data=None, **more)

    def end(self, timeout=15):
        """(exit status, what it complained of)"""
        errors = self.process.communicate(timeout=timeout * SLOW)[1]
        self.channel.close()
        assert not SANITIZER.search(errors), errors
        assert sorted(self.seqs) == list(range(len(self.seqs)))  # one after the other
        return self.process.returncode, errors


@pytest.fixture
def worker():
    workers = []

    def start(*args, **more):
        workers.append(Worker(*args, **more))
        return workers[-1]

    yield start
    for each in workers:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        each.process.stderr.close()
        each.channel.close()


@pytest.fixture
def serving(worker, port):
    """A worker that serves a socket that it got a share of."""
    w = worker(f"tcp://127.0.0.1:{port}")
    w.read("online")
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        w.answer(w.read("queryServer"), s.fileno())
    assert w.read() == ACK
    w.read("listening")
    return w


def test_round_robin_dialogue(worker):
    """Each message of a life, as a Node worker says it."""
    w = worker("tcp://127.0.0.1:0")
    assert w.read() == {"cmd": "NODE_CLUSTER", "act": "online", "seq": 0}
    query = w.read("queryServer")
    assert query == {"cmd": "NODE_CLUSTER", "act": "queryServer", "index": 0, "data": None, "backlog": 0,
                     "address": "127.0.0.1", "port": 0, "addressType": 4, "flags": 0, "seq": 1}
    w.answer(query, sockname={"address": "127.0.0.1", "family": "IPv4", "port": 4711})
    assert w.read("listening")["port"] == 4711
    ours, theirs = socket.socketpair()
    w.send(theirs.fileno(), act="newconn", key="key 1")
    theirs.close()
    assert w.read() == ACK
    assert w.read() == {"cmd": "NODE_CLUSTER", "ack": 1, "accepted": True, "seq": 3}
    assert int(ours.makefile().readline()) == w.process.pid
    w.send(act="disconnect")
    assert w.read("close")["key"] == "key 1"
    assert w.is_quiet()  # a connection is open
    ours.close()
    assert w.read() is None
    assert w.end() == (0, "")


def test_shared_dialogue(serving, port):
    """The socket comes with the answer: the worker listens and accepts, and closes it when it leaves."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        assert int(s.makefile().readline()) == serving.process.pid
        serving.send(act="disconnect")
        assert serving.read("close")["key"] == "key 1"
        assert is_refused(port)
        assert serving.is_quiet()
    assert serving.read() is None
    assert serving.end() == (0, "")


def test_closed_while_others_listen(worker, port):
    """The socket lives on elsewhere, with connections: they are no business of this worker any more."""
    w = worker(f"tcp://127.0.0.1:{port}")
    w.read("online")
    with socket.socket() as s, socket.socket() as client:
        s.bind(("127.0.0.1", port))
        w.answer(w.read("queryServer"), s.fileno())
        assert w.read() == ACK
        w.read("listening")
        w.write(f"tcp://127.0.0.1:{port}")  # unlisten
        w.read("close")
        client.connect(("127.0.0.1", port))
        assert cpu_seconds(w.process.pid, 1) < 0.05
        w.channel.close()
        assert w.end() == (0, "")


def test_leaves_by_itself(serving, port):
    """close comes first: who answers the leave has read it, so nothing is on its way at the end."""
    serving.write("stop")
    assert serving.read("close")["key"] == "key 1"
    leaving = serving.read("exitedAfterDisconnect")
    assert serving.is_quiet()
    serving.send(ack=leaving["seq"])
    assert serving.read() is None
    assert serving.end() == (0, "")


@pytest.mark.deadline(30)
def test_a_leave_is_not_answered(serving):
    """Node would wait for ever; we do not."""
    serving.write("stop")
    serving.read("close")
    serving.read("exitedAfterDisconnect")
    begun = time.monotonic()
    assert serving.read() is None
    assert time.monotonic() - begun > 4
    assert serving.end() == (0, "")


def test_connections_after_a_close_are_refused(worker):
    """accepted: false, so that the primary gives it to somebody else; never without an ACK."""
    w = worker("tcp://127.0.0.1:0")
    w.read("online")
    w.answer(w.read("queryServer"))
    w.read("listening")
    ours, theirs = socket.socketpair()
    w.write("tcp://127.0.0.1:0")  # unlisten
    w.read("close")
    for key in ("key 1", "no such key"):
        w.send(theirs.fileno(), act="newconn", key=key)
        assert w.read() == ACK
        assert w.read()["accepted"] is False
    theirs.close()
    assert ours.recv(1) == b""  # it has closed its copies
    ours.close()
    w.write("stop")
    w.send(ack=w.read("exitedAfterDisconnect")["seq"])
    assert w.read() is None
    assert w.end() == (0, "")


def test_a_query_is_not_answered(worker):
    """After its disconnect a primary answers nothing: the worker does not wait for it."""
    w = worker("tcp://127.0.0.1:0")
    w.read("online")
    query = w.read("queryServer")
    w.send(act="disconnect")
    assert w.read() is None
    assert w.end() == (0, "")
    assert query


def test_a_late_answer(worker, port):
    """The socket comes when the worker has left already: nobody listens, nobody keeps it."""
    w = worker("tcp://127.0.0.1:0")
    w.read("online")
    query = w.read("queryServer")
    w.write("stop")
    leaving = w.read("exitedAfterDisconnect")
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))
        w.answer(query, s.fileno())
        assert w.read() == ACK
        assert w.read("close")["key"] == "key 1"
        assert is_refused(port)
    w.send(ack=leaving["seq"])
    assert w.read() is None
    assert w.end() == (0, "")


def test_udp_without_ipv6(worker, port):
    """udp://:PORT asks for IPv6; if there is none, for IPv4."""
    w = worker(f"udp://:{port}")
    w.read("online")
    query = w.read("queryServer")
    assert (query["addressType"], query["address"], query["port"]) == ("udp6", "::", port)
    w.send(errno=-errno.EAFNOSUPPORT, key="k", ack=query["seq"], data=None)
    query = w.read("queryServer")
    assert (query["addressType"], query["address"], query["port"]) == ("udp4", "0.0.0.0", port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", port))
        w.answer(query, s.fileno(), kind="dgram.Native")
        assert w.read() == ACK
        told = w.read("listening")
        assert (told["addressType"], told["address"], told["port"]) == ("udp4", "127.0.0.1", port)
        assert not os.get_blocking(s.fileno())
    w.channel.close()
    assert w.end() == (0, "")


@pytest.mark.parametrize("kind", ["udp for tcp", "tcp for udp", "no udp", "another port", "lost"])
def test_wrong_answers(worker, port, kind):
    """What is no answer to the question is an error of that umbel_listen(), and the key is given back."""
    udp = kind in ("tcp for udp", "no udp")
    w = worker(f"{'udp' if udp else 'tcp'}://127.0.0.1:{port}")
    w.read("online")
    query = w.read("queryServer")
    why = "Protocol error"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp for tcp" else
                       socket.SOCK_STREAM) as s:
        if kind == "no udp":
            w.answer(query)
        elif kind == "lost":  # as when it was out of descriptors
            w.answer(query, -1)
            why = "Too many open files"
        else:
            w.answer(query, s.fileno())
            why = "Address already in use" if kind == "another port" else why
        if kind != "no udp":
            assert w.read() == ACK
        assert w.read("close")["key"] == "key 1"
    status, errors = w.end()
    assert status == 1 and f"cannot listen on {'udp' if udp else 'tcp'}://127.0.0.1:{port}: {why}" in errors


def test_a_lost_connection_is_refused_later(worker):
    """Out of descriptors: acknowledged, and refused after a while. A Node primary that gets a NACK keeps
    the connection for ever; one that gets the refusal at once may offer it again at once, for ever."""
    w = worker("tcp://127.0.0.1:0")
    w.read("online")
    w.answer(w.read("queryServer"))
    w.read("listening")
    begun = time.monotonic()
    w.send(-1, act="newconn", key="key 1")
    assert w.read() == ACK
    refusal = w.read()
    assert refusal["ack"] == 1 and refusal["accepted"] is False
    assert time.monotonic() - begun > 0.09
    w.send(-1, act="newconn", key="key 1")
    assert w.read() == ACK
    w.send(act="disconnect")
    assert w.read()["accepted"] is False  # at the latest when it leaves
    w.read("close")
    assert w.read() is None
    assert w.end() == (0, "")


def test_a_lost_descriptor_of_a_message(worker):
    """A NACK: the primary sends it once more. The message counts once."""
    w = worker()
    w.read("online")
    w.write({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "text"})
    assert w.read() == NACK
    ours, theirs = socket.socketpair()
    w.write({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "text"}, theirs.fileno())
    theirs.close()
    assert w.read() == ACK
    assert w.read() == {"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "text"}  # it comes back
    ours.close()
    w.channel.close()
    assert w.end() == (0, "")


@pytest.mark.parametrize("losses", [0, 3, 4])
def test_the_primary_is_out_of_descriptors(worker, losses):
    """A message whose descriptor did not arrive is sent again, three times, as Node does; the worker keeps
    its copy until it has arrived, or is given up."""
    w = worker()
    w.read("online")
    w.write({"give": "socket"})
    for number in range(losses + 1):
        if number < 4:
            assert w.read()["msg"] == {"given": "socket"} and len(w.fds) == 1
            os.close(w.fds.pop())
            assert w.is_quiet()  # its other end would read the end otherwise
            w.write(NACK if number < losses else ACK)
    assert w.read() == {"read": ""}
    w.channel.close()
    assert w.end() == (0, "")


def test_no_spare_acknowledgements(worker):
    """Node ends on them: one for each descriptor that came, none for anything else."""
    w = worker()
    w.read("online")
    ours, theirs = socket.socketpair()
    w.write({"cmd": "NODE_UNKNOWN"}, theirs.fileno())  # a descriptor that nobody has announced
    w.write("text", theirs.fileno())
    w.write({"cmd": "NODE_CLUSTER", "ack": 99, "seq": 0})
    w.write({"cmd": "NODE_HANDLE", "type": "net.Native", "msg": {"cmd": "NODE_UNKNOWN"}}, theirs.fileno())
    theirs.close()
    assert w.read() == "text"
    assert w.read() == ACK
    assert w.is_quiet()
    assert ours.recv(1) == b""  # all closed
    ours.close()
    w.channel.close()
    assert w.end() == (0, "")


def test_sockets_are_accounted(worker):
    """NODE_SOCKET_GET_COUNT and NOTIFY_CLOSE, for each of Node's servers."""
    w = worker()
    w.read("online")
    ours, theirs = socket.socketpair()
    w.write({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": {"take": "hold"}, "key": "4:a:1"},
            theirs.fileno())
    theirs.close()
    assert w.read() == ACK
    assert int(ours.makefile().readline()) == w.process.pid
    for key, count in (("4:a:1", 1), ("never heard of", 0)):
        w.write({"cmd": "NODE_SOCKET_GET_COUNT", "key": key})
        assert w.read() == {"cmd": "NODE_SOCKET_COUNT", "key": key, "count": count}
        w.write({"cmd": "NODE_SOCKET_NOTIFY_CLOSE", "key": key})
    assert w.read() == {"cmd": "NODE_SOCKET_ALL_CLOSED", "key": "never heard of"}
    assert w.is_quiet()
    ours.close()  # then it closes it too
    assert w.read() == {"cmd": "NODE_SOCKET_ALL_CLOSED", "key": "4:a:1"}
    assert w.is_quiet()
    w.channel.close()
    assert w.end() == (0, "")


@pytest.mark.parametrize("line", [b"", b"{", b'{"cmd":"NODE_HANDLE_ACK"}', b'{"cmd":"NODE_HANDLE"}'])
def test_a_primary_that_breaks_the_protocol(worker, line):
    """It is as good as gone."""
    w = worker()
    w.read("online")
    w.channel.sendall(line + b"\n")
    assert w.read() is None
    status, errors = w.end()
    assert status == 1 and "the primary broke the protocol" in errors


@pytest.mark.parametrize("number", [0, 1, 2])
def test_channel_at_a_standard_stream(port, number):
    """It is moved away, and what the program prints or reads there does not go through the channel."""
    ours, theirs = socket.socketpair()
    with subprocess.Popen(
            [TESTS / "under_node", f"tcp://127.0.0.1:{port}"],
            env={**os.environ, "NODE_CHANNEL_FD": str(number), "NODE_UNIQUE_ID": "1"},
            **{("stdin", "stdout", "stderr")[number]: theirs}) as process:
        theirs.close()
        assert ours.makefile().readline() == '{"cmd":"NODE_CLUSTER","act":"online","seq":0}\n'
        assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"
        ours.close()
        assert process.wait(15 * SLOW) == 0


def test_shim_that_is_not_the_parent(worker):
    """Its death could not be ours."""
    w = worker(env={"UMBEL_SHIM": "1"})
    status, errors = w.end()
    assert status == 1 and "exec the program" in errors
