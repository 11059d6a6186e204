"""C workers that share sockets under umbel's own primary: --policy shared, and UDP under any policy."""
import os
import signal
import socket

import pytest
from c_programs import TESTS
from harness import SLOW, is_refused, wait_until
from test_c_under_node import connect, pids, udp_pid

UNDER_NODE = TESTS / "under_node"


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def test_serves(umbel, port):
    """Every worker accepts for itself; one that dies leaves the port to the others."""
    run = umbel("-n", 2, "--policy", "shared", "--", UNDER_NODE, f"tcp://127.0.0.1:{port}")
    slots = run.wait_listening(2)
    assert run.address() == f"tcp://127.0.0.1:{port}"
    assert set(pids(port, 20)) <= set(slots.values())
    os.kill(slots[1], signal.SIGKILL)
    run.wait_successor(1, slots[1])
    assert sum(pids(port, 20).values()) == 20
    s, _ = connect(port)
    run.send()
    wait_until(lambda: is_refused(port), "the port to be closed")
    s.close()
    assert run.wait() == 0


def test_reload(umbel, port):
    """The port is there all the time, and in the end only the new ones accept from it."""
    run = umbel("-n", 2, "--policy", "shared", "--", UNDER_NODE, f"tcp://127.0.0.1:{port}")
    old = set(run.wait_listening(2).values())
    run.send(signal.SIGHUP)

    def is_new():
        assert not is_refused(port)
        now = set(run.slots(listening=True).values())
        return len(now) == 2 and not now & old and not any(map(alive, old))
    wait_until(is_new, "the new generation", 30)
    assert not set(pids(port, 10)) & old


@pytest.mark.parametrize("policy", ["rr", "shared"])
def test_udp(umbel, port, policy):
    """One socket for all workers; it outlives each of them."""
    run = umbel("-n", 2, "--policy", policy, "--", UNDER_NODE, f"udp://127.0.0.1:{port}")
    slots = run.wait_listening(2)
    assert udp_pid(port) in slots.values()
    for slot, pid in slots.items():
        os.kill(pid, signal.SIGKILL)
        run.wait_successor(slot, pid)
    assert udp_pid(port) in run.slots().values()
    assert run.stop() == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(20 * SLOW)
        s.connect(("127.0.0.1", port))
        with pytest.raises(ConnectionRefusedError):
            s.send(b"?")
            s.recv(1)
