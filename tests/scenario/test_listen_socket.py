"""umbel_listen_socket(): C workers that accept by themselves, under umbel's own primary."""
import signal

import pytest
from c_programs import TESTS
from harness import wait_until
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
