"""What becomes of connections when policies change and workers stop, die and leave. What takes minutes:
tests/torture."""
import ctypes
import os
import signal
import socket
import stat
import statistics
import struct
import time
from pathlib import Path

import pytest
from c_programs import TESTS
from control import status, verb
from crowd import Crowd, addresses
from harness import SLOW, is_sanitized, wait_until, who
from policies import (HANDED, LIVE, STEERED, WINDOW, app, each_kind, each_live, gate,  # noqa: F401
                      is_gone, seats, switch, wait_steered, words)
from test_deaths import Wrk, freeze

MANY = 1000 if is_sanitized() else 5000
CLIENTS = addresses(64)


def errors_of(wrk):
    requests, errors = wrk.result()
    assert requests > 100
    return {kind: count for kind, count in errors.items() if count}


# ---- switching ----


@each_kind
def test_switching_under_load(app, port, kind):
    """Every 100 ms another policy: nobody notices."""
    run, pids = app(kind, 4, "rr")
    wrk = Wrk(port, 16, "-H", "Connection: close")
    with Crowd(port, parallel=8, sources=CLIENTS) as crowd:
        for turn in range(20):
            switch(run, LIVE[turn % len(LIVE)])
            pause = time.monotonic() + 0.1
            while time.monotonic() < pause:
                crowd.go(8, leave=8)
        crowd.go()
    assert not errors_of(wrk) and not crowd.failures
    assert run.slots() == pids
    assert set(crowd.pids()) == set(pids.values())


@each_kind
def test_connections_outlive_a_switch(app, port, kind):
    """Those that are open, and those that are half open: an answer comes from whoever has it."""
    run, pids = app(kind, 2, "rr", args=(200,))
    with Crowd(port, parallel=40, sources=CLIENTS) as crowd:
        for policy in ["spread", "least", "sticky", "rr"]:
            crowd.go(10, leave=40)
            switch(run, policy)
        crowd.go()
    assert len(crowd.answers) == 40 and not crowd.failures


# ---- a worker is killed ----


def in_hand(directory, pid):
    """Connections that a worker of keepalive had taken and not finished."""
    try:
        taken, finished = struct.unpack("QQ", Path(directory, str(pid)).read_bytes())
    except (FileNotFoundError, struct.error):  # it has not taken any
        return 0
    return taken - finished


@each_live
@each_kind
def test_killed_under_load(app, port, tmp_path, kind, policy):
    """What fails is what the dead had taken."""
    run, pids = app(kind, 4, policy, "--env", f"TORTURE_LOG={tmp_path}", args=(5,))
    taken = 0
    with Crowd(port, parallel=32, sources=CLIENTS) as crowd:
        for slot in (1, 2, 3, 4):
            crowd.go(100, leave=32)
            os.kill(pids[slot], signal.SIGKILL)
            wait_until(lambda pid=pids[slot]: is_gone(pid), "it to end")
            crowd.go(100, leave=32)
            pid = run.wait_successor(slot, pids[slot])
            assert pid != pids[slot]
            taken += in_hand(tmp_path, pids[slot])
        crowd.go(100)
    # A batch that was being received in the moment of a kill is in no count.
    assert len(crowd.failures) <= taken + 8, crowd.failures
    assert len(crowd.answers) + len(crowd.failures) == 900
    assert taken > 0
    assert not run.find("next start in")
    there = set(who_is_there(port))  # under least a successor that began slowly may have to wait for its turn
    assert len(there) > 1 if policy == "least" else there == set(run.wait_listening(4).values())


def who_is_there(port):
    with Crowd(port, sources=CLIENTS) as crowd:
        return crowd.go(2 * len(CLIENTS)).pids()


@each_live
@each_kind
def test_what_a_killed_worker_had_not_taken(app, port, kind, policy, gate):
    """Others serve it, long before there is a successor: it has not been asked for."""
    run, pids = app(kind, 4, policy, command=gate.words(kind))
    if policy in STEERED:
        wait_steered(run, *pids)
    freeze(pids[2])
    with Crowd(port, parallel=300, sources=CLIENTS) as crowd:
        crowd.go(120, leave=120)
        wait_until(lambda: crowd.turn() or len(crowd.answers) + untaken(run, 2) == 120 and untaken(run, 2),
                   "some to wait for the stopped one")
        gate.close()
        os.kill(pids[2], signal.SIGKILL)
        crowd.go()
        run.wait_for(f"slot 2 pid {pids[2]} killed")
        assert run.slots(listening=True).keys() == {1, 3, 4}
        assert not crowd.failures and set(crowd.pids()) <= set(pids.values()) - {pids[2]}
        gate.open()
        run.wait_successor(2, pids[2])


def untaken(run, slot):
    """What waits in front of it: in its sockets, its lane, or in messages to it."""
    (worker,) = [w for w in status(run)["workers"] if w["slot"] == slot]
    return seats(run)[slot]["queued"] + worker["connections"]["queued"]


# ---- a worker is stopped ----


@pytest.mark.parametrize("policy", HANDED)
@each_kind
def test_a_stopped_worker(app, port, kind, policy):
    """It holds up what it may have, all others are answered; once it goes on, those are too."""
    run, pids = app(kind, 4, policy)
    freeze(pids[3])
    with Crowd(port, parallel=WINDOW[kind] + 30) as crowd:
        crowd.go(MANY, leave=WINDOW[kind], timeout=45)
        waiting = len(crowd.waiting)
        assert pids[3] not in crowd.pids()
        os.kill(pids[3], signal.SIGCONT)
        crowd.go()
    assert not crowd.failures and len(crowd.answers) == MANY
    assert 1 <= crowd.pids()[pids[3]] <= waiting <= WINDOW[kind]
    assert run.slots() == pids


@each_kind
def test_a_stopped_worker_when_the_policy_changes(app, port, kind):
    """What waits in the sockets of a stopped worker is served when it goes on; what comes after a switch to a
    policy that hands over is not held up."""
    run, pids = app(kind, 4, "spread")
    wait_steered(run, *pids)
    freeze(pids[1])
    with Crowd(port, parallel=100) as crowd:
        crowd.go(40, leave=40)
        wait_until(lambda: crowd.turn() or len(crowd.answers) + seats(run)[1]["queued"] == 40, "40 answers")
        held = len(crowd.waiting)
        switch(run, "rr")
        crowd.go(200, leave=held + WINDOW[kind])
        os.kill(pids[1], signal.SIGCONT)
        crowd.go()
    assert not crowd.failures and len(crowd.answers) == 240


# ---- the end of a connection ----


@each_live
@each_kind
def test_end_of_a_connection(app, port, kind, policy):
    """A client sees it at once: nobody else has a copy."""
    app(kind, 2, policy)
    times = []
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", port), 20 * SLOW) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert s.recv(4096).endswith(b"\n")  # its last act before it closes
            told = time.monotonic()
            assert s.recv(1) == b""
            times.append(time.monotonic() - told)
    assert statistics.median(times) < 0.05 * SLOW, times


@each_live
def test_end_of_the_connections_of_a_dead_worker(app, port, policy):
    run, pids = app("c", 2, policy, command=[TESTS / "serve"],
                    where=f"tcp://127.0.0.1:{port}")
    if policy in STEERED:
        wait_steered(run, *pids)
    held = {}
    for source in addresses(20):
        s = socket.create_connection(("127.0.0.1", port), 20 * SLOW, (source, 0))
        held.setdefault(int(s.recv(100)), []).append(s)
    assert set(held) == set(pids.values())
    os.kill(pids[1], signal.SIGKILL)
    killed = time.monotonic()
    for s in held[pids[1]]:
        try:
            assert s.recv(1) == b""
        except ConnectionResetError:
            pass
    assert time.monotonic() - killed < 0.5 * SLOW
    for s in sum(held.values(), []):
        s.close()


# ---- the address ----


def ended_busy(run):
    assert run.wait(30) == 1
    assert run.find(r"EADDRINUSE|[Aa]ddress already in use"), run.output()


@each_kind
def test_a_port_of_another_app(app, umbel, port, kind):
    """Of the same user too: a group that anybody may join would share the connections silently."""
    run, pids = app(kind, 2, "rr")
    ended_busy(umbel("-n", 2, "--max-failures", 1, "--name", "other", "--policy", "spread", "--",
                     *words(kind), port))
    assert set(who(port, 20)) == set(pids.values())
    switch(run, "spread")
    ended_busy(umbel("-n", 2, "--max-failures", 1, "--name", "third", "--", *words(kind), port))
    with Crowd(port) as crowd:
        assert set(crowd.go(50).pids()) == set(pids.values())


@pytest.mark.parametrize("policy", ["rr", "spread"])
def test_a_port_of_a_server_that_would_share_it(umbel, port, policy):
    with socket.socket(socket.AF_INET6) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("::", port))
        s.listen()
        ended_busy(umbel("-n", 2, "--max-failures", 1, "--policy", policy, "--", *words("c"), port))


@each_live
def test_the_port_is_free_at_the_end(app, port, policy):
    run, _ = app("c", 2, policy)
    assert run.stop() == 0
    with socket.socket(socket.AF_INET6) as s:
        s.bind(("::", port))
        s.listen()


# ---- who may be steered to ----


@each_live
@each_kind
def test_nothing_is_taken_before_it_has_soaked(app, port, kind, policy):
    """A successor that listens has sockets of its own, to which nobody is steered yet."""
    run, pids = app(kind, 2, policy, "--soak", "1200ms")
    if policy in STEERED:
        wait_steered(run, *pids)
    run.send(signal.SIGHUP)
    wait_until(lambda: len(run.find(r"slot 1 pid \d+ listens")) == 2, "the first successor")
    with Crowd(port, sources=CLIENTS) as crowd:
        crowd.go(2 * len(CLIENTS))
        assert not run.find("takes over") and set(crowd.pids()) == set(pids.values())
        wait_until(lambda: all(map(is_gone, pids.values())), "the old ones to end")
        first = len(crowd.answers)
        crowd.go(2 * len(CLIENTS))
        assert set(crowd.pids(first)) == set(run.wait_listening(2).values())
    assert not crowd.failures


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives workers another user")
@each_kind
def test_workers_of_another_user(app, port, kind):
    """All sockets of a group belong to one user, whoever reads from them."""
    run, pids = app(kind, 2, "spread", "--user", "nobody")
    wait_steered(run, *pids)
    for pid in pids.values():
        assert os.stat(f"/proc/{pid}").st_uid != 0
    with Crowd(port) as crowd:
        assert set(crowd.go(60).pids()) == set(pids.values())
        os.kill(pids[1], signal.SIGKILL)
        run.wait_successor(1, pids[1])
        assert verb(run, "reload", "app").returncode == 0
        first = len(crowd.answers)
        wait_until(lambda: is_gone(pids[2]), "the old one to end")
        crowd.go(60)
    assert not crowd.failures and set(crowd.pids(first)) == set(run.wait_listening(2).values())


def listening_socket_of(pid):
    """A copy of a worker's listening socket."""
    pidfd_getfd = 438
    libc, pidfd = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid)
    try:
        for fd in map(int, os.listdir(f"/proc/{pid}/fd")):
            copy = libc.syscall(pidfd_getfd, pidfd, fd, 0)
            if copy < 0 or not stat.S_ISSOCK(os.fstat(copy).st_mode):
                if copy >= 0:
                    os.close(copy)
                continue
            s = socket.socket(fileno=copy)
            if s.family == socket.AF_INET6 and s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return s
            s.close()
    finally:
        os.close(pidfd)
    pytest.skip(f"no listening socket of {pid} (ptrace(2) may be forbidden here)")


@each_kind
def test_a_worker_that_shuts_its_socket(app, port, kind):
    """shutdown(2) takes a socket out of the group, for all who have it. It comes back, at another place."""
    run, pids = app(kind, 4, "spread")
    wait_steered(run, *pids)
    with Crowd(port) as crowd:
        for slot in (2, 4, 1):
            with listening_socket_of(pids[slot]) as s:
                s.shutdown(socket.SHUT_RDWR)
                wait_until(lambda s=s: s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), "it to listen again")
        crowd.go(100, timeout=5)
        assert set(crowd.pids()) == set(pids.values())
        assert verb(run, "reload", "app").returncode == 0
        wait_until(lambda: all(map(is_gone, pids.values())), "the old ones to end")
        first = len(crowd.answers)
        crowd.go(100)
        assert set(crowd.pids(first)) == set(run.wait_listening(4).values())
    assert not crowd.failures
