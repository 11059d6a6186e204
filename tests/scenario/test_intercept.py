"""C programs that know nothing of umbel: all the ways to bind that programs have; as root and as somebody else."""
import os
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from control import status, verb
from crowd import Crowd
from harness import get, is_refused, wait_until
from intercepting import (BINDINGS, BINDS, FORBID, ab, answered_by, app, each_user, home, in_call, is_zombie,  # noqa: F401
                          ready, user)
from test_deaths import freeze

BIND = {"x86_64": 49, "aarch64": 200}[os.uname().machine]

# {mode: hosts where each worker answers}
WAYS = {"plain": ["127.0.0.1"], "thread": ["127.0.0.1"], "fork": ["127.0.0.1"], "epoll": ["127.0.0.1"],
        "mptcp": ["127.0.0.1", "::1"], "pair": ["127.0.0.1", "::1"], "dual": ["127.0.0.1", "::1"],
        "reuseport": ["127.0.0.1"], "options": ["127.0.0.1"], "shutdown": ["127.0.0.1"], "again": ["127.0.0.1"],
        "interface": ["127.0.0.1"]}


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def check_can(mode):
    if mode == "mptcp":
        try:
            socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262).close()
        except OSError as error:
            pytest.skip(f"no MPTCP here: {error}")
    if "::1" in WAYS[mode] and not has_ipv6():
        pytest.skip("no IPv6 here")


def check_listener(run, port, workers=3, listeners=1):
    """What status says of each: its policy, and a seat for each slot, all steered to."""
    found = [one for one in status(run)["listeners"] if one["address"].endswith(f":{port}")]
    assert len(found) == listeners
    for one in found:
        assert one["policy"] == "spread"
        assert [seat["slot"] for seat in one["slots"]] == list(range(1, workers + 1))
        assert all(seat["steered"] for seat in one["slots"])


@each_user
@pytest.mark.parametrize("mode", WAYS)
def test_all_serve(app, port, mode):
    """Three on one port: all are used, nobody fails, nothing is left."""
    check_can(mode)
    run, pids = app(BINDINGS, mode, port)
    check_listener(run, port, listeners=2 if mode == "pair" else 1)
    for host in WAYS[mode]:
        assert set(answered_by(port, host=host)) == set(pids.values())
    ab(port)
    assert run.slots() == pids
    assert run.stop() == 0
    assert is_refused(port)


def can_be_had(port):
    """Of all interfaces but lo."""
    for _, name in socket.if_nameindex():
        if name != "lo":
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
                s.bind(("0.0.0.0", port))
                s.listen()


def test_of_an_interface(app, port):
    """At no other it is open, with a successor neither. Who names the port means it."""
    run, pids = app(BINDINGS, "interface", port, options=["--listen", f"tcp://0.0.0.0:{port}"])
    for _ in range(2):
        (listener,) = status(run)["listeners"]
        assert listener["address"] == f"tcp://0.0.0.0%lo:{port}"
        can_be_had(port)
        assert set(answered_by(port)) == set(pids.values())
        os.kill(pids[2], signal.SIGKILL)
        pids = {**pids, 2: run.wait_successor(2, pids[2])}


def test_two_listeners(app, port, other_port):
    run, pids = app(BINDINGS, "two", port, other_port)
    for one in (port, other_port):
        check_listener(run, one)
        assert set(answered_by(one)) == set(pids.values())


def test_options_are_kept(app, port):
    """Those of the socket, and those of its descriptor."""
    run, _ = app(BINDINGS, "options", port, workers=2)
    run.wait_for("40000 bytes, 1 s, nonblocking, closed on exec", count=2)


@pytest.mark.parametrize("mode", ["shutdown", "again"])
def test_listens_again(app, port, mode):
    """After shutdown() and listen(), or close() and bind() anew: it serves on, and so do the others. Who was in
    its queue in that moment loses: that is what the program does."""
    run, pids = app(BINDINGS, mode, port)
    again = Counter()
    while set(again) < set(pids.values()):
        again[int(get(port, "/again"))] += 1
        wait_until(lambda: all(s["steered"] for s in status(run)["listeners"][0]["slots"]), "it to be steered to")
        assert sum(again.values()) < 60
    assert set(answered_by(port)) == set(pids.values())
    check_listener(run, port)
    assert run.slots() == pids


def test_closes_its_listener_and_lives_on(app, port):
    """Nobody tells: it is found by those who wait there, which come to an end; nobody is steered there then."""
    run, pids = app(BINDINGS, "gone", port)
    gone = int(get(port, "/again"))
    run.wait_for(f"{gone} listens no more")
    (slot,) = [n for n, pid in pids.items() if pid == gone]
    with Crowd(port, parallel=60) as crowd:
        crowd.go(60, timeout=15)
        assert crowd.failures and gone not in crowd.pids()
    run.wait_for(rf"slot {slot}.*pid {gone} has closed its socket at tcp://0.0.0.0:{port}")
    assert slot not in [s["slot"] for s in status(run)["listeners"][0]["slots"] if s["steered"]]
    assert set(answered_by(port)) == set(pids.values()) - {gone}
    assert run.slots() == pids


@pytest.mark.parametrize("mode", ["plain", "thread", "fork", "mptcp", "dual", "options"])
def test_what_a_dead_one_left_waiting(app, port, mode):
    """The successor has the socket of the dead: its queue is answered."""
    check_can(mode)
    run, pids = app(BINDINGS, mode, port, workers=1)
    for pid in [pids[1], *children(pids[1])]:
        freeze(pid)
    with Crowd(port) as crowd:
        crowd.go(5, leave=5)
        wait_until(lambda: crowd.turn(0) or status(run)["listeners"][0]["queued"] == 5, "five to wait")
        os.kill(pids[1], signal.SIGKILL)
        successor = run.wait_successor(1, pids[1])
        crowd.go()
    assert not crowd.failures and set(crowd.pids()) == {successor}


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return list(map(int, file.read().split()))


def test_a_successor_that_watches_its_own(app, port):
    """It had its socket in epoll before it was bound: another one in its place would never be looked at."""
    run, pids = app(BINDINGS, "epoll", port, workers=1)
    os.kill(pids[1], signal.SIGKILL)
    successor = run.wait_successor(1, pids[1])
    assert set(answered_by(port, 20)) == {successor}


@each_user
def test_killed_under_load(app, port):
    """What fails is at most what the dead had accepted: one, each time."""
    run, pids = app(BINDINGS, "plain", port)
    with Crowd(port, parallel=32) as crowd:
        for slot in (1, 2, 3):
            crowd.go(200, leave=32)
            os.kill(pids[slot], signal.SIGKILL)
            crowd.go(200, leave=32)
            run.wait_successor(slot, pids[slot])
        crowd.go(100)
    assert len(crowd.failures) <= 3, crowd.failures
    assert len(crowd.answers) + len(crowd.failures) == 1300
    assert set(answered_by(port)) == set(run.slots().values())


@pytest.mark.parametrize("mode", [mode for mode in WAYS if mode != "options"])
def test_reloaded_under_load(app, port, mode):
    """None of them has a graceful stop: nobody fails all the same."""
    check_can(mode)
    run, pids = app(BINDINGS, mode, port)
    with Crowd(port, parallel=16) as crowd:
        crowd.go(100, leave=16)
        done = verb_beside(crowd, run, "reload", "app")
        crowd.go(100)
    assert done.returncode == 0, done.stderr
    assert not crowd.failures, crowd.failures[:3]
    assert not set(run.slots().values()) & set(pids.values())
    assert set(answered_by(port)) == set(run.slots().values())


def test_reloaded_at_the_end(app, port):
    """It shuts its socket down when it is told to leave, as WEBrick does: that moves another one's place in the
    group, and nobody may notice."""
    run, _ = app(BINDINGS, "leaves", port)
    with Crowd(port, parallel=16) as crowd:
        for _ in range(4):
            done = verb_beside(crowd, run, "reload", "app")
            assert done.returncode == 0, done.stderr
        crowd.go(100)
    assert not crowd.failures, crowd.failures[:3]
    assert set(answered_by(port)) == set(run.slots().values())


def verb_beside(crowd, run, *words):
    """A verb, while the crowd goes on."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(verb, run, *words)
        while not future.done():
            crowd.go(8, leave=16)
        return future.result()


# ---- many, and in the middle ----


@pytest.mark.deadline(120)
def test_a_thousand_binds_at_once(app, port):
    """20 addresses by each of 50 workers: all are answered."""
    run = app(BINDS, "many", port, 20, workers=50, wait=False)
    run.wait_for(r"\d+ has bound 20", timeout=60, count=50)
    run.wait_listening(50, 60)
    assert not run.find("bind: ")
    with Crowd(port, host="127.1.0.1") as crowd:
        crowd.go(400)
        assert not crowd.failures
        assert set(crowd.pids()) <= set(run.slots().values()) and len(crowd.pids()) > 30


def test_killed_while_it_waits_for_an_answer(app, port):
    """The call is gone, the primary finds nobody there: nothing is left of it, and the successor serves."""
    run = app(BINDINGS, "waits", port, workers=1, wait=False)
    run.wait_for(r"\d+ waits")
    (pid,) = run.slots().values()
    freeze(run.pid)
    try:
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: in_call(pid, BIND), "it to bind")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_zombie(pid), "it to end")
    finally:
        os.kill(run.pid, signal.SIGCONT)
    run.wait_for(r"\d+ waits", count=2)
    successor = run.slots()[1]
    assert is_refused(port)
    os.kill(successor, signal.SIGUSR1)
    assert ready(run, 1) == {1: successor}
    assert set(answered_by(port, 5)) == {successor}
    check_listener(run, port, workers=1)


def test_stopped_while_it_waits_for_an_answer(app, port):
    """The primary stands still: bind() takes its time, and that is all."""
    run = app(BINDINGS, "waits", port, workers=2, wait=False)
    run.wait_for(r"\d+ waits", count=2)
    pids = run.slots()
    freeze(run.pid)
    try:
        for pid in pids.values():
            os.kill(pid, signal.SIGUSR1)
            wait_until(lambda pid=pid: in_call(pid, BIND), "it to bind")
    finally:
        os.kill(run.pid, signal.SIGCONT)
    assert ready(run, 2) == pids
    assert set(answered_by(port)) == set(pids.values())


@pytest.mark.parametrize("kernel", ["this", "before 5.19"])
@pytest.mark.parametrize("mode", ["alarmed", "interrupted"])
def test_signals_while_it_waits_for_an_answer(app, port, mode, kernel):
    """One every 0.1 ms: handlers run, and each call is answered all the same; who has no SA_RESTART calls again, also
    before Linux 5.19, where a call may have been carried out by then."""
    before = [] if kernel == "this" else [FORBID, "wait_killable"]
    run = app(BINDS, mode, port, 100, workers=2, wait=False, before=before)
    said = [run.wait_for(r"\d+ has bound 100, (\d+) calls interrupted", timeout=30, count=n) for n in (1, 2)]
    assert mode == "interrupted" or {m[1] for m in said} == {"0"}
    pids = ready(run, 2)
    assert not run.find("(bind|listen): |cannot (bind|listen)")
    assert set(answered_by(port, host="127.1.0.1")) == set(pids.values())


@pytest.mark.parametrize("kernel", ["this", "before 5.19"])
def test_signals_while_it_is_held(app, port, kernel):
    """A spare calls again and again, and is held all the same."""
    before = [] if kernel == "this" else [FORBID, "wait_killable"]
    run, pids = app(BINDS, "alarmed", port, 1, workers=1, before=before, options=["--spares", "1"])
    held = int(run.wait_for(r"pid (\d+) is held")[1])
    for _ in range(100):
        os.kill(held, signal.SIGALRM)
    os.kill(pids[1], signal.SIGKILL)
    assert run.wait_successor(1, pids[1]) == held
    assert set(answered_by(port, 20, host="127.1.0.1")) == {held}


def test_many_calls_of_a_spare(app, port):
    """40 threads that listen at once: all of them are held, and answered when it steps in."""
    run, pids = app(BINDS, "at-once", port, 40, workers=1, options=["--spares", "1"])
    held = int(run.wait_for(r"pid (\d+) is held")[1])
    os.kill(pids[1], signal.SIGKILL)
    run.wait_for(rf"\b{held} listens 40 times")
    assert ready(run, 1) == {1: held}
    assert not run.find("(bind|listen): |cannot (bind|listen)")
    assert len(status(run)["listeners"]) == 40
