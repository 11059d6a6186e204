"""Options of an address where clients meet them: fast_open on each socket of a group; sticky over IPv6."""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from c_programs import TESTS
from crowd import Crowd, addresses
from harness import SLOW
from policies import app, each_kind, wait_steered  # noqa: F401

# Becomes a program in a network of its own: the loopback up, and Fast Open for servers too.
IN_A_NETWORK = ["unshare", "--net", sys.executable, "-c", """
import fcntl, os, pathlib, socket, struct, sys
up, running, set_flags = 0x1, 0x40, 0x8914
with socket.socket() as s:
    fcntl.ioctl(s, set_flags, struct.pack("16sH14x", b"lo", up | running))
pathlib.Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("3")
os.execvp(sys.argv[1], sys.argv[1:])
"""]

# Prints who answered each, and how many connections came with their request in the SYN.
CLIENT = """
import json, pathlib, socket, sys
answers = []
for _ in range(int(sys.argv[2])):
    with socket.socket() as s:
        s.sendto(b"GET / HTTP/1.0\\r\\n\\r\\n", socket.MSG_FASTOPEN, ("127.0.0.1", int(sys.argv[1])))
        answers.append(int(b"".join(iter(lambda: s.recv(4096), b"")).split()[-1]))
lines = [line.split() for line in pathlib.Path("/proc/net/netstat").read_text().splitlines()]
count = next(dict(zip(a, b)) for a, b in zip(lines, lines[1:]) if "TCPFastOpenPassive" in a)
print(json.dumps([answers, int(count["TCPFastOpenPassive"])]))
"""


def can_have_a_network():
    return subprocess.run([*IN_A_NETWORK, "true"], capture_output=True).returncode == 0


def in_the_network_of(pid, *words):
    done = subprocess.run(["nsenter", "--net", "--target", str(pid), *words], capture_output=True, text=True,
                          timeout=30 * SLOW)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not can_have_a_network(), reason="no network of our own")
@pytest.mark.parametrize("policy", ["rr", "spread"])
def test_fast_open(umbel, port, policy):
    """The first client is given a cookie; the others' requests come with their SYN, whoever they are steered to."""
    run = umbel("-n", 2, "--name", "app", "--policy", policy, "--listen", f"tcp://:{port}?fast_open=64", "--",
                TESTS / "keepalive", port, before=IN_A_NETWORK)
    pids = run.wait_listening(2)
    answers, fast = in_the_network_of(run.pid, sys.executable, "-c", CLIENT, str(port), "40")
    assert len(answers) == 40 and set(answers) == set(pids.values())
    assert fast >= 38


@each_kind
def test_sticky_over_ipv6(app, port, kind):
    """All of a /64 are one client; who comes over IPv4 to the same address is told apart."""
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    run, pids = app(kind, 4, "sticky")
    wait_steered(run, *pids)
    with Crowd(port, host="::1") as crowd:
        crowd.go(100)
        assert not crowd.failures and len(crowd.pids()) == 1
        (home,) = crowd.pids()
    with Crowd(port, sources=addresses(64)) as crowd:
        crowd.go(128)
        assert not crowd.failures and set(crowd.pids()) == set(pids.values())
    slot = next(slot for slot, pid in pids.items() if pid == home)
    os.kill(home, signal.SIGKILL)
    successor = run.wait_successor(slot, home)
    wait_steered(run, *pids)
    with Crowd(port, host="::1") as crowd:
        crowd.go(20)
        assert not crowd.failures and set(crowd.pids()) == {successor}
