"""Contract: an address that cannot be had is an 'error' of the worker's server, which lives on. Each test
has the name of Node's own."""
import os
import socket
from pathlib import Path

import pytest
from contract import VERSION, both, primary, start_primary, workers  # noqa: F401
from test_contract_listen import greeting, port_of

PRIVILEGED = 42


@pytest.fixture
def without_privilege():
    """The words before a command that has no right to bind to port 42."""
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first_free <= PRIVILEGED:
        pytest.skip(f"ports are free from {first_free} on")
    return ["setpriv", "--bounding-set", "-net_bind_service"] if os.geteuid() == 0 else []


@pytest.fixture
def busy():
    """A port that somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        yield s.getsockname()[1]


def fails(both, policy, where, **options):
    """What a worker is told that listens there, and how it ends when it closes its channel then."""
    def scenario(primary):
        [worker] = workers(primary, policy=policy)
        answer = worker.ask(["listen", "a", where])
        worker.send(["part"])
        return answer, worker.wait_gone(), worker.has("listening")

    return both(scenario, **options)["result"]


def test_bind_privileged_port(both, without_privilege):
    """EACCES."""
    where = {"port": PRIVILEGED, "host": "127.0.0.1"}
    [answer, *rest] = fails(both, "rr", where, before=without_privilege)
    assert answer == {"error": "EACCES", "syscall": "bind", "address": "127.0.0.1", "port": "port 0"}
    assert rest == [[0, None, False], False]


def test_shared_handle_bind_privileged_port(both, without_privilege):
    """The same of a socket that is shared."""
    where = {"port": PRIVILEGED, "host": "127.0.0.1"}
    [answer, *rest] = fails(both, "none", where, before=without_privilege)
    assert answer["error"] == "EACCES"
    assert rest == [[0, None, False], False]


@pytest.mark.parametrize("policy", ["none", "rr"])
def test_shared_handle_bind_error(both, busy, policy):
    """EADDRINUSE."""
    [answer, *rest] = fails(both, policy, {"port": busy, "host": "127.0.0.1"})
    assert answer["error"] == "EADDRINUSE" and answer["syscall"] == "bind"
    assert rest == [[0, None, False], False]


@pytest.mark.parametrize("policy", ["none", "rr"])
def test_bind_no_such_address(both, policy):
    """EADDRNOTAVAIL: an address that no interface has."""
    [answer, *rest] = fails(both, policy, {"port": 0, "host": "192.0.2.1"})
    assert answer["error"] == "EADDRNOTAVAIL"
    assert rest == [[0, None, False], False]


def test_bind_no_such_directory(both):
    """A unix socket in a directory that is not there. (libuv makes EACCES of ENOENT.)"""
    [answer, *rest] = fails(both, "rr", {"path": "none/a.sock"})
    assert answer["error"] == "EACCES"
    assert rest == [[0, None, False], False]


def test_bind_twice(start_primary, port):
    """Two primaries, one port: EADDRINUSE in the second one's worker, and both live on."""
    for pair in (["node", "node"], ["umbel", "umbel"], ["umbel", "node"], ["node", "umbel"]):
        where = {"port": port, "host": "127.0.0.1"}
        [one], [two] = [workers(start_primary(kind)) for kind in pair]
        assert port_of(one.ask(["listen", "a", where])) == port
        assert two.ask(["listen", "a", where])["error"] == "EADDRINUSE"
        assert greeting(port) == "1"
        assert two.show()["connected"]
        one.primary.end_workers()


def test_eaccess(both):
    """A unix socket that somebody else listens on: EADDRINUSE, which the worker can tell."""
    def scenario(primary):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(primary.cwd / "a.sock"))
            s.listen()
            [worker] = workers(primary)
            answer = worker.ask(["listen", "a", {"path": "a.sock"}])
            assert (primary.cwd / "a.sock").exists()
        return answer

    assert both(scenario)["result"]["error"] == "EADDRINUSE"


@pytest.mark.parametrize("policy", ["none", "rr"])
def test_eaddrinuse(primary, policy):
    """A busy port is tried again once it is free: the failure is not remembered. (A worker of a Node
    primary since 22 dies of it when the socket is shared: the key comes twice.)"""
    [worker] = workers(primary, policy=policy)
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        where = {"port": port, "host": "127.0.0.1"}
        assert worker.ask(["listen", "a", where])["error"] == "EADDRINUSE"
    worker.send(["listen", "b", where])
    if primary.kind == "node" and policy == "none" and VERSION >= (22,):
        assert worker.wait_gone() == (1, None, False)
    else:
        assert port_of(worker.message()) == port
        assert greeting(port) == "1"
