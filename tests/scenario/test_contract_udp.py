"""Contract: UDP. The workers share the primary's one socket. Each test has the name of Node's own,
test-cluster-dgram-*.js and test-dgram-*.js."""
import contextlib
import socket
from collections import Counter

import pytest
from contract import VERSION, both, primary, start_primary, workers  # noqa: F401
from harness import SLOW, wait_until

LOCAL = {"port": 0, "address": "127.0.0.1"}


class Client:
    """A UDP socket: asks a worker, or hears what workers send."""

    def __init__(self, port=0, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        if port:
            self.socket.connect((host, port))
        else:
            self.socket.bind((host, 0))
        self.socket.settimeout(20 * SLOW)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, again=None):
        """Who has answered. again: seconds after which it asks once more."""
        self.socket.settimeout(again or 20 * SLOW)
        for _ in range(20 if again else 1):
            self.socket.send(b"who?")
            with contextlib.suppress(TimeoutError if again else ()):
                return self.socket.recv(100).decode()
        raise AssertionError("nobody answers")

    def hear(self):
        """(who, from which port)"""
        text, (_, port) = self.socket.recvfrom(100)
        return text.decode(), port

    def port(self):
        return self.socket.getsockname()[1]


def asked(port, host="127.0.0.1"):
    with Client(port, host) as client:
        return client.ask()


def port_of(answer):
    return answer["listening"]["port"]


def is_free(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture
def where(port):
    """An address that nobody has."""
    assert is_free(port)
    return {"port": port, "address": "127.0.0.1"}


@pytest.fixture
def busy():
    """An address that somebody else has."""
    with Client() as client:
        yield {"port": client.port(), "address": "127.0.0.1"}


# ---- one socket for all ----


def test_dgram_1(both, where):
    """Four workers share one port; each leaves it to the others when it has had its ten packets. (Under umbel
    each has a socket of its own: what arrives in it while it is being closed is lost.)"""
    def scenario(primary):
        four = workers(primary, 4)
        for worker in four:
            worker.ask(["bind", "a", "udp4", where, {"limit": 10}])
        with Client(where["port"]) as client:
            told = Counter(client.ask(again=SLOW) for _ in range(40))
        assert [w.message() for w in four] == [{"enough": "a"}] * 4
        return told

    assert both(scenario)["result"] == {"1": 10, "2": 10, "3": 10, "4": 10}


def test_dgram_2(both):
    """Workers bind port 0, which is one port for all, and send; the cluster is disconnected."""
    def scenario(primary):
        four = workers(primary, 4)
        with Client() as client:
            ports = {port_of(w.ask(["bind", "a", "udp4", LOCAL])) for w in four}
            for worker in four:
                worker.ask(["packet", "a", client.port()])
            heard = dict(client.hear() for _ in four)
        assert ports == set(heard.values()) and len(ports) == 1
        primary.disconnect()
        return sorted(heard), [w.wait_gone() for w in four]

    assert both(scenario)["result"] == [["1", "2", "3", "4"], [[0, None, True]] * 4]


def test_child_index_dgram(both):
    """Two sockets on port 0 in each worker, closed as soon as they are bound, and again."""
    def scenario(primary):
        for worker in workers(primary, 2):
            for name in "ab":
                worker.ask(["bind", name, "udp4", LOCAL, {"closeAtOnce": True}])
            ports = [port_of(worker.ask(["bind", name, "udp4", LOCAL])) for name in "cd"]
            assert ports[0] != ports[1]
            assert [asked(port) in "12" for port in ports] == [True, True]

    both(scenario)


def test_dgram_bind_shared_ports(primary, where):
    """exclusive: false is shared by two workers; exclusive: true of a third one is EADDRINUSE."""
    one, two, three = workers(primary, 3)
    assert port_of(one.ask(["bind", "a", "udp4", where | {"exclusive": False}])) == where["port"]
    assert port_of(two.ask(["bind", "a", "udp4", where | {"exclusive": False}])) == where["port"]
    assert three.ask(["bind", "a", "udp4", where | {"exclusive": True}])["error"] == "EADDRINUSE"
    assert asked(where["port"]) in "12"


def test_dgram_bind_shared_ports_after_port_0(both):
    """Known issue of Node: a port that came of bind(0) cannot be asked for by its number."""
    def scenario(primary):
        one, two = workers(primary, 2)
        port = port_of(one.ask(["bind", "a", "udp4", LOCAL]))
        return two.ask(["bind", "a", "udp4", {"port": port, "address": "127.0.0.1"}])

    assert both(scenario)["result"]["error"] == "EADDRINUSE"


def test_dgram_exclusive_implicit_bind(both, where):
    """send() without bind() is exclusive: two bound workers send from one port, two others from their
    own."""
    def scenario(primary):
        four = workers(primary, 4)
        for worker in four[:2]:
            worker.ask(["bind", "a", "udp4", where])
        with Client() as client:
            for worker in four:
                worker.ask(["packet", "a", client.port()])
            heard = dict(client.hear() for _ in four)
        assert heard["1"] == heard["2"] == where["port"]
        for worker in four[2:]:  # disconnect() does not close these
            worker.ask(["close", "a"])
        return len(set(heard.values()))

    assert both(scenario)["result"] == 3


# ---- forms of bind() ----


def test_dgram_bind_fd(both):
    """bind({fd}): a descriptor of the primary, which all share. (Of its address Node's 'listening' event
    tells nothing, ours does.)"""
    with Client() as shared:
        fd, port = shared.socket.fileno(), shared.port()

        def scenario(primary):
            answers = [w.ask(["bind", "a", "udp4", {"fd": fd}]) for w in workers(primary, 2, pass_fds=[fd])]
            return answers, asked(port) in "12"

        [answers, served] = both(scenario, but=["listening"], pass_fds=[fd])["result"]
        assert answers[0] == answers[1] and served


@pytest.mark.parametrize("type4", ["udp4", {"type": "udp4"}])
def test_dgram_ipv6only(both, port, type4):
    """udp6 with ipv6Only and udp4 have the same port."""
    def scenario(primary):
        [worker] = workers(primary)
        answers = [worker.ask(["bind", "six", {"type": "udp6", "ipv6Only": True}, {"port": port}]),
                   worker.ask(["bind", "four", type4, {"port": port}])]
        return answers, asked(port), asked(port, "::1")

    assert both(scenario)["result"][1:] == ["1", "1"]


def test_dgram_reuse(primary, where):
    """reuseAddr goes to the primary: two sockets of one worker have one port. (A worker of a Node primary
    since 22 dies of the second one: the key comes twice.)"""
    [worker] = workers(primary)
    reuse = {"type": "udp4", "reuseAddr": True}
    assert port_of(worker.ask(["bind", "a", reuse, where])) == where["port"]
    worker.send(["bind", "b", reuse, where])
    if primary.kind == "node" and VERSION >= (22,):
        assert worker.wait_gone() == (1, None, False)
    else:
        assert port_of(worker.message()) == where["port"]
        assert asked(where["port"]) == "1"


def test_dgram_reuseport(primary, where):
    """reusePort: each worker binds its own socket, nothing goes through the primary; one worker may do it
    twice. Before 22.12 the option is not known, and the second bind() fails."""
    one, two = workers(primary, 2)
    reuse = {"type": "udp4", "reusePort": True}
    answers = [w.ask(["bind", name, reuse, where]) for w, name in ((one, "a"), (one, "b"), (two, "a"))]
    assert port_of(answers[0]) == port_of(answers[2]) == where["port"]
    if VERSION >= (22, 12):
        assert port_of(answers[1]) == where["port"]
        if primary.kind == "node":
            assert not one.has("listening")
    else:
        assert answers[1]["error"] == "EADDRINUSE"
    assert asked(where["port"]) in "12"


# ---- errors, closing, unref() ----


def test_dgram_cluster_bind_error(both, busy, where):
    """The primary cannot bind: 'error', and the socket can be bound to something else."""
    def scenario(primary):
        [worker] = workers(primary)
        return (worker.ask(["bind", "a", "udp4", busy]), worker.ask(["again", "a", where]),
                asked(where["port"]))

    [error, again, who] = both(scenario)["result"]
    assert error["error"] == "EADDRINUSE" and error["syscall"] == "bind"
    assert again["listening"] and who == "1"


def test_dgram_cluster_close_during_bind(both, where):
    """A socket that is closed before the primary has answered: the port is given back. (And Node's
    test-dgram-bind-socket-close-before-cluster-reply.js.)"""
    def scenario(primary):
        [worker] = workers(primary)
        answer = worker.ask(["bind", "a", "udp4", where, {"closeFirst": True}])
        wait_until(lambda: is_free(where["port"]), "the port to be free")
        return answer, worker.ask(["bind", "b", "udp4", where]), asked(where["port"])

    assert both(scenario)["result"][2] == "1"


def test_dgram_cluster_close_in_listening(both, where):
    """close() inside 'listening', in three workers: no error, and the port is given back."""
    def scenario(primary):
        three = workers(primary, 3)
        for worker in three:
            worker.send(["bind", "a", "udp4", where, {"closeAtOnce": True}])
        answers = [w.message() for w in three]
        wait_until(lambda: is_free(where["port"]), "the port to be free")
        return answers

    assert all("listening" in a for a in both(scenario)["result"])


def test_dgram_unref_in_cluster(both):
    """unref() before bind() counts for the socket that comes: nothing keeps the worker."""
    def scenario(primary):
        kept, free = workers(primary, 2)
        port = port_of(kept.ask(["bind", "a", "udp4", LOCAL]))
        kept.ask(["unref-channel"])
        free.ask(["bind", "a", "udp4", LOCAL | {"exclusive": False}, {"unref": True}])
        free.send(["unref-channel"])
        gone = free.wait_gone()
        return gone, asked(port), kept.show()["dead"]

    assert both(scenario)["result"] == [[0, None, False], "1", False]
