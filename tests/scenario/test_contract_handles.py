"""Contract: descriptors that go with messages, and what servers are told of those that they sent away.
Each test has the name of Node's own."""
import os
import signal
import socket

import pytest
from contract import both, primary, start_primary  # noqa: F401
from harness import SLOW, stat, wait_until
from test_contract_disconnect import LEFT, connect

HELLO = "hello from the worker"


def start(primary, **settings):
    """Our preload would tell the primary of servers that are the worker's own."""
    [worker] = primary.start("handles.js", preload=False, **settings)
    assert worker.message() == "ready"
    return worker


def serve(worker, way):
    """The port of a server that does that with its connections."""
    worker.send(["serve http"] if way == "http" else ["serve", way])
    return worker.next("listening")["port"]


def read_all(client):
    """What comes until its end."""
    return b"".join(iter(lambda: client.recv(4096), b"")).decode()


def ask(port, request=""):
    with connect(port) as client:
        client.sendall(request.encode())
        return read_all(client)


# ---- to a worker ----

def test_fork_net_socket(both):
    """A connection that the primary accepted is served by the worker that it was sent to."""
    def scenario(primary):
        workers = [start(primary, env={"NAME": name}) for name in ("first", "second")]
        return [ask(worker.hand(["greet"])) for worker in workers]

    assert both(scenario)["result"] == ["hello from first", "hello from second"]


def test_send_socket_to_worker_http_server(both):
    """An http server of the worker may take it."""
    def scenario(primary):
        worker = start(primary)
        answer = ask(worker.hand(["http"]), "GET / HTTP/1.0\r\n\r\n")
        return answer.splitlines()[0], answer.splitlines()[-1]

    assert both(scenario)["result"] == ["HTTP/1.1 200 OK", HELLO]


def test_fork_net_server(both):
    """A listening socket that the primary opened: the worker accepts from it."""
    def scenario(primary):
        worker = start(primary)
        port = worker.give("server", ["accept"])
        assert worker.message() == "accepts"
        return [ask(port) for _ in range(3)]

    assert both(scenario)["result"] == [HELLO] * 3


def test_fork_dgram(both):
    """A UDP socket that the primary bound: the worker receives from it."""
    def scenario(primary):
        worker = start(primary)
        port = worker.give("udp", ["receive"])
        assert worker.message() == "receives"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(20 * SLOW)
            s.sendto(b"?", ("127.0.0.1", port))
            return s.recv(100).decode()

    assert both(scenario)["result"] == HELLO


@pytest.mark.parametrize("kind, name", [("server", "Server"), ("udp", "Socket")])
def test_fork_net(both, kind, name):
    """What comes is what was sent, between messages without any."""
    def scenario(primary):
        worker = start(primary)
        worker.send(["what"])
        worker.give(kind, ["what"])
        worker.send(["what"])
        return [worker.message() for _ in range(3)]

    told = both(scenario)["result"]
    assert told.count(None) == 2 and told.count(name) == 1


# ---- from a worker ----

def test_net_send(both):
    """A worker sends a connected socket, from which the primary reads."""
    def scenario(primary):
        worker = start(primary)
        primary.command("take", "read")
        worker.send(["pair", "some text"])
        return worker.next("message"), worker.next("data")

    assert both(scenario)["result"] == [["pair", True], "some text"]


def test_send_handle_twice(both):
    """The same socket twice: the second message comes without it."""
    def scenario(primary):
        worker = start(primary)
        with connect(serve(worker, "twice")) as client:
            told = worker.next("message"), worker.next("message")
            return told, read_all(client)

    assert both(scenario)["result"] == [[["first", True], ["second", False]], ""]


def test_send_keep_open(both):
    """keepOpen: the sender has its socket still, when the primary has closed its own."""
    def scenario(primary):
        worker = start(primary)
        with connect(serve(worker, "keep open")) as client:
            told = worker.next("message")
            worker.send(["end"])
            return told, read_all(client)

    assert both(scenario)["result"] == [["kept open", True], HELLO]


def test_pass_fd(primary):
    """Twenty workers send a socket each, all at once, and go."""
    primary.command("take", "read")
    workers = primary.start("passes.js", count=20)
    told = [(worker.next("message", 30), worker.next("data", 30)) for worker in workers]
    assert told == [(["passed", True], f"from {worker.id}") for worker in workers]
    assert [worker.wait_gone() for worker in workers] == [LEFT] * 20


# ---- both ways ----

def test_send_deadlock(both):
    """Sockets to the primary and back at the same time: neither waits for the other."""
    def scenario(primary):
        worker = start(primary)
        primary.command("take", "back")
        port = serve(worker, "swap")
        clients = [connect(port) for _ in range(20)]
        answers = [read_all(client) for client in clients]
        for client in clients:
            client.close()
        worker.kill("SIGKILL")  # under Node's primary its server would never be closed
        worker.wait_gone()
        return answers

    assert both(scenario)["result"] == [HELLO] * 20


def test_cluster_send_handle_large_payload(both):
    """800,004 bytes with a socket, there and back."""
    payload = "x" * 800_002

    def scenario(primary):
        worker = start(primary)
        with connect(worker.hand(["back", payload])) as client:
            message, has_handle = worker.next("message", 20)
            return message == payload, has_handle, read_all(client)

    assert both(scenario)["result"] == [True, True, ""]


# ---- accounts: what a server knows of the sockets that it sent away ----

def test_fork_getconnections(both):
    """getConnections() counts those that the primary has, until it closes them."""
    def scenario(primary):
        worker = start(primary)
        primary.command("take", "keep")
        port = serve(worker, "send")
        clients = [connect(port) for _ in range(3)]
        for _ in clients:
            worker.message()
        before = worker.ask(["count"])["count"]
        primary.command("release")
        for client in clients:
            assert read_all(client) == ""
            client.close()
        return before, worker.ask(["count"])["count"]

    assert both(scenario)["result"] == [3, 0]


@pytest.mark.parametrize("way", ["send", "http"])
def test_http_socket_leak(both, way):
    """close() of such a server waits until the primary has closed them, and then ends."""
    def scenario(primary):
        worker = start(primary)
        primary.command("take", "keep")
        port = serve(worker, way)
        clients = [connect(port) for _ in range(2)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            worker.message()
        before = worker.ask(["count"])["count"]
        worker.send(["close server"])
        assert worker.ask(["count"])["count"] > 0
        assert not [e for e in primary.events() if e[2:3] == ["closed"]]
        primary.command("release")
        for client in clients:
            client.close()
        return before, worker.message()

    assert both(scenario)["result"] == [2, "closed"]


@pytest.mark.parametrize("count", [0, 2])
def test_server_close(both, count):
    """It ends as well when they are closed already, or when none was sent."""
    def scenario(primary):
        worker = start(primary)
        port = serve(worker, "send")
        for _ in range(count):
            with connect(port) as client:
                worker.message()
                assert read_all(client) == ""
        return worker.ask(["close server"])

    assert both(scenario)["result"] == "closed"


def test_disconnect_with_sockets_sent(both):
    """A worker whose sockets the primary holds can leave all the same, once they are closed."""
    def scenario(primary):
        worker = start(primary)
        primary.command("take", "keep")
        with connect(serve(worker, "send")):
            worker.message()
            primary.command("release")
        worker.disconnect()
        return worker.wait_gone()

    assert both(scenario)["result"] == list(LEFT)


# ---- where Node's primary fails ----

def test_killed_with_a_descriptor_on_its_way(start_primary):
    """A worker dies before it took a socket: it is told as disconnected as well (by Node: never), and
    the client sees the end."""
    primary = start_primary("umbel")
    worker = start(primary)
    pid = primary.children()[0]
    os.kill(pid, signal.SIGSTOP)
    with connect(worker.hand(["greet"])) as client:
        wait_until(lambda: stat(pid)[0] == "T", "it to stop")
        worker.kill("SIGKILL")
        assert worker.wait_gone() == (None, "SIGKILL", False)
        client.settimeout(20 * SLOW)
        try:
            assert client.recv(100) == b""
        except ConnectionResetError:
            pass
