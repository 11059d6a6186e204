"""umbel_listen_socket(): C workers that accept by themselves, under umbel's own primary and under Node's; and
what becomes there of the options of an address."""
import signal
import subprocess

import pytest
from c_programs import TESTS
from harness import is_refused, wait_until
from node_primary import POLICIES, node_primary  # noqa: F401
from test_c_shared import alive
from test_c_under_node import connect, pids

UNDER_NODE = TESTS / "under_node"


@pytest.mark.parametrize("policy", ["sticky", "spread", "shared"])
def test_serves(umbel, port, policy):
    """Each accepts from the socket that it got, and leaves without one."""
    run = umbel("-n", 2, "--policy", policy, "--", UNDER_NODE, f"+tcp://127.0.0.1:{port}")
    slots = run.wait_listening(2)
    served = pids(port, 40)
    assert sum(served.values()) == 40 and set(served) <= set(slots.values())
    if policy == "spread":
        assert set(served) == set(slots.values())
    assert run.stop() == 0


def test_reload(umbel, port):
    """The new ones get sockets of their own, and what waits in those of the old ones is served by somebody."""
    run = umbel("-n", 2, "--policy", "spread", "--soak", 0, "--", UNDER_NODE, f"+tcp://127.0.0.1:{port}")
    old = set(run.wait_listening(2).values())
    run.send(signal.SIGHUP)

    def is_new():
        s, pid = connect(port)
        s.close()
        assert pid
        return not any(map(alive, old))
    wait_until(is_new, "the old ones to leave", 30)
    assert not set(pids(port, 10)) & old


@pytest.mark.parametrize("policy", ["rr", "least"])
def test_is_refused(umbel, port, policy):
    """There the primary accepts, and has nobody to hand over to."""
    run = umbel("-n", 1, "--policy", policy, "--max-failures", 1, "--", UNDER_NODE, f"+tcp://127.0.0.1:{port}")
    run.wait_for("needs the policy sticky, spread or shared")
    run.stop()


# ---- under a Node primary ----


def leave(primary, count):
    primary.say("disconnect")
    for number in range(1, count + 1):
        primary.wait("exit", number, 0, None, True)
    assert primary.end() == 0


def test_under_node(node_primary, port):
    """Where it shares its sockets."""
    primary = node_primary("execPath", "none", f"+tcp://127.0.0.1:{port}")
    primary.fork(2)
    assert sum(pids(port, 20).values()) == 20
    leave(primary, 2)
    assert is_refused(port)


def test_is_refused_under_node(node_primary, port):
    """Where it accepts and hands over; it has closed the port then."""
    primary = node_primary("execPath", "rr", f"+tcp://127.0.0.1:{port}")
    primary.say("fork")
    assert primary.wait("exit", 1)[2] == 1
    primary.wait_error("needs the policy sticky, spread or shared")
    wait_until(lambda: is_refused(port), "the port to be closed")
    assert primary.end() == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_options_under_node(node_primary, port, policy):
    """Its primary does those that it knows."""
    primary = node_primary("execPath", policy, f"tcp://:{port}?ipv6_only&backlog=7&defer_accept=1")
    primary.fork(1)
    assert primary.find("listening", 1)[0][2]["address"] == "::"
    assert is_refused(port)
    s, _ = connect(port, "::1")
    listed = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True).stdout
    assert not listed or listed.split()[2] == "7"
    s.close()
    leave(primary, 1)
