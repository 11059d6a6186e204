"""Intercepted programs over time: policies, scaling, successors that are slow, new versions that bind elsewhere,
and what ends with the primary."""
import os
import re
import shlex
import signal
import socket
import subprocess
import time

import pytest
from control import status, verb
from crowd import Crowd, addresses
from harness import PROGRAMS, SLOW, is_refused, stat, wait_until
from intercepting import BINDINGS, BINDS, answered_by, app, group_of, home, needs_root, ready, user  # noqa: F401
from policies import gate, policy_of, seats, switch, wait_steered  # noqa: F401
from test_deaths import freeze
from test_intercept import check_listener

CLIENTS = addresses(64)


# ---- policies ----


def test_sticky(app, port):
    """The same client, the same worker."""
    run, pids = app(BINDINGS, "plain", port, options=["--policy", "sticky"])
    with Crowd(port, sources=CLIENTS) as crowd:
        crowd.go(3 * len(CLIENTS))
        assert not crowd.failures
        assert set(crowd.pids()) == set(pids.values())
        assert {len(found) for found in crowd.by_source().values()} == {1}


@pytest.mark.parametrize("mode", ["plain", "fork", "dual", "options", "interface"])
def test_shared(app, port, mode):
    """One socket for all of them: whoever wakes first. Who dies takes nothing along."""
    run, pids = app(BINDINGS, mode, port, options=["--policy", "shared"])
    assert policy_of(run) == "shared"
    with Crowd(port, parallel=32) as crowd:
        crowd.go(300)
        assert not crowd.failures and set(crowd.pids()) <= set(pids.values())
    for slot in (1, 2):
        for pid in group_of(pids[slot]):
            freeze(pid)
    assert set(answered_by(port, 20)) == {pids[3]}
    os.kill(pids[1], signal.SIGKILL)
    run.wait_successor(1, pids[1])
    for pid in group_of(pids[2]):
        os.kill(pid, signal.SIGCONT)
    answered_by(port)


def test_switching(app, port):
    """Those that can be had are switched to live; what hands over is refused, and said why."""
    run, pids = app(BINDINGS, "plain", port)
    with Crowd(port, parallel=8, sources=CLIENTS) as crowd:
        for policy in ("sticky", "spread", "sticky", "spread"):
            crowd.go(40, leave=8)
            switch(run, policy)
            assert policy_of(run) == policy
        crowd.go(40)
        assert not crowd.failures
    for policy in ("rr", "least"):
        done = verb(run, "policy", "app", policy)
        assert done.returncode == 1 and policy in done.stderr, done
        assert policy_of(run) == "spread"
    assert set(answered_by(port)) == set(pids.values())


def test_one_that_hands_over_is_named(app, port):
    """--policy rr: said once, and they have spread."""
    run, pids = app(BINDINGS, "plain", port, options=["--policy", "rr"])
    assert policy_of(run) == "spread"
    assert len(run.find("have spread, not rr")) == 1
    assert set(answered_by(port)) == set(pids.values())
    refused = verb(run, "policy", "app", "least")
    assert refused.returncode == 1 and "accept by themselves, so that nothing can be handed over" in refused.stderr
    shown = verb(run, "status", "app").stdout
    assert ", policy spread, umbel 0." in shown.splitlines()[0]  # not rr, which nobody has
    for slot, pid in pids.items():  # nobody counts what it accepts
        assert re.search(rf"^ +{slot} +{pid} +- +- +\d+ +- +-  steered$", shown, re.M), shown
        assert re.search(rf"^ +{slot} +{pid}  ready .* 0 +- +0  -$", shown, re.M), shown


def test_too_many_to_be_steered_to(app, port):
    """They have shared, and it is said once."""
    serves = shlex.join(map(str, [BINDINGS, "plain", port]))
    script = f'[ "$UMBEL_SLOT" -gt 2 ] && exec sleep 600; exec {serves}'
    run = app("sh", "-c", script, workers=257, wait=False)
    run.wait_for(r"slot \d pid \d+ listens", count=2, timeout=60)
    assert policy_of(run) == "shared"
    assert len(run.find("have policy shared, not spread: the kernel can steer to 256 workers at most")) == 1
    answered_by(port)
    run.stop(timeout=60)


# ---- more, fewer, later ----


def test_scaled(app, port):
    """Up and down under load: nobody fails."""
    run, _ = app(BINDINGS, "plain", port)
    with Crowd(port, parallel=16) as crowd:
        for count in (5, 1, 3):
            crowd.go(100, leave=16)
            assert verb(run, "scale", "app", count).returncode == 0
            wait_until(lambda n=count: crowd.go(8, leave=16) and len(run.slots(listening=True)) == n,
                       f"{count} workers")
        crowd.go(100)
        assert not crowd.failures, crowd.failures[:3]
    pids = ready(run, 3)
    assert set(answered_by(port)) == set(pids.values())
    check_listener(run, port)


def test_a_successor_that_is_slow(app, port, gate):
    """What waits for it comes to an end, and all others are served by those who are there."""
    run, pids = app(PROGRAMS / "gated", gate.path, BINDINGS, "plain", port)
    freeze(pids[2])
    with Crowd(port, parallel=60) as crowd:
        crowd.go(60, leave=60)
        wait_until(lambda: crowd.turn(0) or len(crowd.answers) + seats(run)[2]["queued"] == 60, "some to wait")
        waiting = 60 - len(crowd.answers)
        assert waiting > 5
        gate.close()
        os.kill(pids[2], signal.SIGKILL)
        crowd.go()
        assert len(crowd.failures) <= waiting
    wait_steered(run, 1, 3)
    assert set(answered_by(port)) == {pids[1], pids[3]}
    gate.open()
    successor = run.wait_successor(2, pids[2])
    wait_steered(run, 1, 2, 3)
    assert set(answered_by(port)) == {pids[1], pids[3], successor}


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_there_for_a_while(app, port, gate, workers):
    """All of them have died: who waits is served by those who follow, however long they boot."""
    run, pids = app(PROGRAMS / "gated", gate.path, BINDINGS, "plain", port, workers=workers)
    gate.close()
    for slot, pid in pids.items():
        os.kill(pid, signal.SIGKILL)
        run.wait_for(f"pid {pid} killed")
    with Crowd(port, parallel=10) as crowd:
        crowd.go(10, leave=10)
        since = time.monotonic()
        wait_until(lambda: crowd.turn() or time.monotonic() - since > 4, "them to wait longer than where others serve")
        assert not crowd.failures
        gate.open()
        successors = {run.wait_successor(slot, pid) for slot, pid in pids.items()}
        crowd.go(timeout=20)
        assert not crowd.failures and set(crowd.pids()) <= successors and len(crowd.answers) == 10
    assert set(answered_by(port, 10 * workers)) == successors


def test_a_new_version_binds_elsewhere(app, port, other_port, tmp_path):
    """After the reload the old port is free."""
    where = tmp_path / "port"
    where.write_text(str(port))
    run, _ = app("sh", "-c", f"exec {BINDINGS} plain $(cat {where})")
    where.write_text(str(other_port))
    done = verb(run, "reload", "app")
    assert done.returncode == 0, done.stderr
    assert set(answered_by(other_port)) == set(run.slots().values())
    wait_until(lambda: is_refused(port), "the old port to be closed")
    check_listener(run, other_port)
    socket.create_server(("0.0.0.0", port)).close()


def test_a_new_version_that_cannot_bind(app, port, other_port, tmp_path):
    """The reload is undone, the old ones serve on."""
    where = tmp_path / "port"
    where.write_text(str(port))
    run, pids = app("sh", "-c", f"exec {BINDINGS} plain $(cat {where})")
    where.write_text(str(other_port))
    with socket.create_server(("0.0.0.0", other_port)):
        assert verb(run, "reload", "app").returncode == 4
    assert {w["slot"]: w["pid"] for w in status(run)["workers"]} == pids
    assert set(answered_by(port)) == set(pids.values())


# ---- who binds ----


def test_a_child_of_the_worker_binds(app, port):
    """A shell that waits for its program. The stop ends both."""
    run, pids = app("sh", "-c", f"trap 'kill $!; wait; exit' TERM; {BINDINGS} plain {port} & wait")
    found = answered_by(port)
    assert len(found) == 3
    assert {int(stat(pid)[1]) for pid in found} == set(pids.values())
    assert run.stop() == 0
    assert is_refused(port)


@pytest.mark.parametrize("mode", ["own-table", "no-first"])
def test_a_thread_that_is_alone_binds(app, port, mode):
    """With a descriptor table of its own, or when the first thread has ended: what its process has is not what it
    has. Its successor gets its socket all the same."""
    run, pids = app(BINDINGS, mode, port)
    check_listener(run, port)
    with Crowd(port, parallel=32) as crowd:
        crowd.go(200)
        assert not crowd.failures and set(crowd.pids()) == set(pids.values())
        os.kill(pids[1], signal.SIGKILL)
        run.wait_successor(1, pids[1])
        crowd.go(100)
        assert not crowd.failures
    assert "cannot be seen" not in run.output()


@needs_root
def test_in_a_namespace_of_processes(app, port):
    """Its pids are others in there."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode:
        pytest.skip("no namespace of processes can be had here")
    run, pids = app("unshare", "--pid", "--fork", "--kill-child", BINDINGS, "dual", port, workers=2,
                    options=["--grace", "500ms"])  # the first in such a namespace is not ended by TERM
    check_listener(run, port, workers=2)
    answered_by(port)
    assert all(group_of(pid) for pid in pids.values())


@needs_root
def test_in_a_network_of_its_own(app, port):
    """What is bound there is nothing that we could share."""
    if subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be had here")
    run = app("unshare", "--net", BINDS, "many", port, 1, workers=2, wait=False)
    run.wait_for(r"\d+ has bound 1", count=2)
    assert status(run)["listeners"] == []
    assert is_refused(port)


def test_more_sockets_than_one_may_have(app, port):
    """64 of one worker: its program hears of the next one, and the operator what that means, once."""
    run = app(BINDS, "many", port, 64, workers=1)[0]
    assert run.stop() == 0
    run = app(BINDS, "many", port, 70, workers=2, wait=False, options=["--max-failures", "2"])
    run.wait_for("bind: Too many open files")
    assert run.wait(60) == 1
    assert len(run.find(r"^umbel: share: a worker has as many sockets as can be shared \(64\): .*--no-share")) == 1
    assert run.find(rf"pid \d+ cannot bind tcp://127.1.0.65:{port}: Too many open files$")


def test_two_apps_on_one_port(app, umbel, port):
    """The second is told so, by its own program: it does not join the first one's sockets."""
    _, pids = app(BINDINGS, "plain", port)
    for mode in ("plain", "reuseport"):
        other = umbel("-n", 2, "--name", "other", "--", BINDINGS, mode, port)
        other.wait_for("bind: Address already in use")
        assert other.wait(60) == 1
    assert set(answered_by(port)) == set(pids.values())


# ---- the end ----


@pytest.mark.parametrize("mode", ["plain", "fork", "thread"])
def test_the_primary_is_killed(app, port, mode):
    """Its workers end with it, and the port is free."""
    run, _ = app(BINDINGS, mode, port)
    run.kill()
    wait_until(lambda: is_refused(port), "the port to be free")


def test_stopped_while_a_client_waits(app, port):
    """What was accepted and what waits is served before the signal comes."""
    run, pids = app(BINDINGS, "plain", port, workers=1)
    with socket.create_connection(("127.0.0.1", port), 20 * SLOW) as first, Crowd(port, parallel=8) as crowd:
        crowd.go(8, leave=8)
        run.send()
        run.wait_for("stopping 1 worker")
        first.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert int(first.makefile("rb").read().split()[-1]) == pids[1]
        crowd.go()
        assert not crowd.failures, crowd.failures
    assert run.wait() == 0
