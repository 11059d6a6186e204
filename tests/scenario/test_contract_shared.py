"""Contract: what workers share through the primary: descriptors that it was given, and TLS ticket keys."""
import contextlib
import signal
import socket
import ssl
from collections import Counter

import pytest
from contract import both, primary, start_primary, workers  # noqa: F401
from harness import SLOW
from test_contract_listen import greeting, port_of
from test_contract_udp import asked


@contextlib.contextmanager
def stopped(primary):
    """The primary does nothing meanwhile."""
    primary.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        primary.process.send_signal(signal.SIGCONT)


def test_sched_none(both):
    """none: the workers accept from the primary's socket, and do so while the primary is stopped."""
    def scenario(primary):
        two = workers(primary, 2, policy="none")
        ports = [port_of(w.ask(["listen", "a", {"port": 0, "host": "127.0.0.1"}])) for w in two]
        assert ports[0] == ports[1]
        with stopped(primary):
            told = [greeting(ports[0]) for _ in range(4)]
        return set(told) <= {"1", "2"}

    assert both(scenario)["result"]


def test_sched_none_udp(both):
    """UDP sockets are shared under any policy."""
    def scenario(primary):
        [worker] = workers(primary, policy="rr")
        port = port_of(worker.ask(["bind", "a", "udp4", {"port": 0, "address": "127.0.0.1"}]))
        with stopped(primary):
            return asked(port)

    assert both(scenario)["result"] == "1"


@pytest.mark.parametrize("policy", ["rr", "none"])
def test_listen_fd_cluster(both, policy):
    """listen({fd}): a descriptor of the primary that is bound; all workers serve it. (Of its address
    Node's 'listening' event tells nothing, ours does.)"""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        fd, port = s.fileno(), s.getsockname()[1]

        def scenario(primary):
            two = workers(primary, 2, policy=policy, pass_fds=[fd])
            answers = [w.ask(["listen", "a", {"fd": fd}]) for w in two]
            told = Counter(greeting(port) for _ in range(4))
            return answers, sorted(told) if policy == "rr" else told <= Counter({"1": 4, "2": 4})

        both(scenario, but=["listening"], pass_fds=[fd])


@pytest.mark.parametrize("kind", ["node", "umbel"])
def test_listen_fd_not_passed(start_primary, kind):
    """listen({fd}) of a socket that the operator has not named: any will do for Node, none for ours."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        primary = start_primary(kind, pass_fds=[s.fileno()])
        [worker] = workers(primary)
        answer = worker.ask(["listen", "a", {"fd": s.fileno()}])
    assert "listening" in answer if kind == "node" else "error" in answer
    assert worker.show()["connected"]


def test_listen_fd_that_is_none(both):
    """listen({fd}) of a number that is no socket of the primary: an error, and the worker lives on."""
    def scenario(primary):
        [worker] = workers(primary)
        answer = worker.ask(["listen", "a", {"fd": 99}])
        return answer["error"], worker.show()

    both(scenario)


@pytest.mark.parametrize("policy", ["rr", "none"])
def test_tls_ticket_cluster(both, certificate, policy):
    """Four workers share their ticket keys through the primary: each session is resumed by all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # its ticket comes with the handshake

    def scenario(primary):
        four = primary.start("tls.js", *certificate, count=4, policy=policy)
        ports = {w.message()["port"] for w in four}
        assert len(ports) == 1
        session, resumed, told = None, [], set()
        for _ in range(16):
            with socket.create_connection(("127.0.0.1", *ports), 20 * SLOW) as plain, \
                    context.wrap_socket(plain, session=session) as s:
                told.add(s.recv(10))
                resumed.append(s.session_reused)
                session = session or s.session
        assert policy == "none" or len(told) == 4
        return resumed

    assert both(scenario)["result"] == [False] + [True] * 15
