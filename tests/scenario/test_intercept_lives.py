"""Intercepted programs whose sockets have lives of their own: of another user, bound long before they listen, closed by
the last one, one after the other, or taken into the background; and programs that are followed by ones of another kind."""
import os
import re
import shlex
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest
from c_programs import TESTS
from control import status, verb
from harness import SLOW, get, is_refused, wait_until
from intercepting import BINDINGS, NOBODY, answered_by, app, home, needs_root, user  # noqa: F401
from test_intercept import check_can, check_listener, verb_beside
from test_spares import held

LIVES = TESTS / "lives"
FAILS = ["--max-failures", 2]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def owners(pid, port):
    """Whose the sockets are that it has bound to that port."""
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    here = {f"socket:[{row[9]}]" for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == "0A"}
    fds = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    return {os.stat(fd).st_uid for fd in fds if os.readlink(fd) in here}


# ---- another user's ----


@needs_root
@pytest.mark.parametrize("mode", ["plain", "dual", "fork", "epoll"])
def test_of_another_user(app, port, mode):
    """All three serve, and their sockets are theirs."""
    check_can(mode)
    run, pids = app(BINDINGS, mode, port, options=["--user", "nobody"])
    assert {os.stat(f"/proc/{pid}").st_uid for pid in pids.values()} == {NOBODY}
    assert [owners(pid, port) for pid in pids.values()] == [{NOBODY}] * 3
    assert set(answered_by(port)) == set(pids.values())
    check_listener(run, port)
    os.kill(pids[2], signal.SIGKILL)
    run.wait_successor(2, pids[2])
    assert set(answered_by(port)) == set(run.slots().values())


@needs_root
def test_of_another_user_beside_roots(app, umbel, port, other_port):
    """A group of root's is joined by sockets of root's alone: what nobody's program has not bound stays nobody's."""
    check_can("dual")
    _, pids = app(BINDINGS, "dual", other_port)
    other = umbel("-n", 1, "--name", "other", "--user", "nobody", "--listen", f"tcp://[::1]:{port}", "--",
                  LIVES, "intrudes", port, other_port)
    other.wait_for(r"\d+ has tried")
    tried = {m[1]: (int(m[2]), m[3]) for m in other.find(r"(as it is|after a .*): of (\d+), (.*)", "stdout")}
    assert len(tried) == 4
    assert tried["as it is"] == (NOBODY, "EADDRINUSE")
    assert {said for _, said in tried.values()} <= {"EADDRINUSE", "EINVAL"}  # EINVAL: it is bound
    assert {uid for uid, said in tried.values() if said != "EINVAL"} == {NOBODY}
    for host in ("127.0.0.1", "::1"):
        assert set(answered_by(other_port, host=host)) == set(pids.values())


# ---- two apps ----


@pytest.mark.parametrize("spares", [0, 1])
def test_two_apps_that_bind_before_they_listen(app, umbel, port, tmp_path, spares):
    """Both have the port, and nobody listens yet: who listens second is told that it is taken, and gets nothing."""
    gates = {name: tmp_path / name for name in ("app", "other")}
    options = ["--spares", spares, "--ready-timeout", "60s"]
    run = app(LIVES, "early", port, gates["app"], workers=2, options=options, wait=False)
    other = umbel("-n", 2, "--name", "other", *options, *FAILS, "--", LIVES, "early", port, gates["other"])
    for one in (run, other):
        one.wait_for(r"\d+ has bound", count=2 + spares)
    gates["app"].touch()
    pids = run.wait_listening(2)
    if spares:
        held(run, 1)
    gates["other"].touch()
    other.wait_for("listen: Address already in use", count=2)
    other.wait_for(rf"^umbel: slot \d.*pid \d+ cannot listen on tcp://0.0.0.0:{port}: Address already in use", count=2)
    assert other.wait(60) == 1
    assert set(answered_by(port)) == set(pids.values())
    os.kill(pids[1], signal.SIGKILL)
    run.wait_successor(1, pids[1])
    assert set(answered_by(port)) == set(run.slots().values())
    check_listener(run, port, workers=2)


def test_two_apps_with_datagrams(app, umbel, port):
    """bind() is where they begin to listen."""
    binds = [TESTS / "binds", "udp", port]
    run = app(*binds, workers=2, options=["--share-udp", "--spares", 1], wait=False)
    run.wait_for(r"\d+ has udp", count=2)
    other = umbel("-n", 2, "--name", "other", "--share-udp", *FAILS, "--", *binds)
    other.wait_for("bind: Address already in use", count=2)
    assert other.wait(60) == 1
    assert len(run.slots()) == 2


# ---- the last one ----


def test_the_last_one_closes(app, port, other_port):
    """Clients are refused, as they would be by the program alone; it may listen again, and is served by all then."""
    run, pids = app(LIVES, "quits", port, other_port, workers=2)
    for one in (port, other_port):
        socket.create_connection(("127.0.0.1", one), 20 * SLOW).close()
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR1)
    run.wait_for(r"\d+ listens no more", count=2)
    for one in (port, other_port):
        wait_until(lambda one=one: is_refused(one), f"{one} to be refused", 10)
    assert run.slots() == pids
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR2)
    run.wait_for(r"\d+ listens again", count=2)
    assert set(answered_by(other_port)) == set(pids.values())


def test_all_but_one_close(app, port, other_port):
    """Who is left gets all, of the address that was shut down at once."""
    run, pids = app(LIVES, "quits", port, other_port, workers=2)
    os.kill(pids[1], signal.SIGUSR1)
    run.wait_for(rf"{pids[1]} listens no more")
    seats = lambda: [s["slot"] for one in status(run)["listeners"] for s in one["slots"] if s["steered"]]  # noqa: E731
    wait_until(lambda: Counter(seats())[1] < 2, "one address of the first to be left")
    os.kill(pids[1], signal.SIGUSR2)
    run.wait_for(rf"{pids[1]} listens again")
    wait_until(lambda: Counter(seats())[1] >= 1, "it to be steered to again")
    assert not is_refused(port) and not is_refused(other_port)


# ---- followed by another kind ----


@pytest.mark.parametrize("named", [False, True], ids=["", "named"])
def test_followed_by_another_kind(app, port, tmp_path, named):
    """A program that binds by itself, one of libumbel, and the first again: each generation serves."""
    check_can("dual")
    script = tmp_path / "become"
    what = {"own": [BINDINGS, "dual", port], "libumbel": [TESTS / "keepalive", port]}

    def become(kind):
        script.write_text(f"exec {shlex.join(map(str, what[kind]))}\n")

    become("own")
    run, pids = app("sh", script, options=["--listen", f"tcp://:{port}"] if named else [])
    for kind in ("libumbel", "own"):
        become(kind)
        done = verb(run, "reload", "app")
        assert done.returncode == 0, done.stderr
        before, pids = pids, run.slots()
        assert not set(pids.values()) & set(before.values())
        wait_until(lambda: len(answered_by(port, 30)) == 3, "all of them to be used")
        assert set(answered_by(port)) == set(pids.values())


# ---- one after the other ----


@pytest.mark.parametrize("how", ["bind", "listen"])
def test_ports_that_come_and_go(app, port, how):
    """200 of each worker, opened and closed: none is kept, and the next can be had."""
    run = app(LIVES, "ports", how, port, 200, workers=2, options=["--ready-timeout", "60s"], wait=False)
    run.wait_for(r"\d+ waits", count=2)
    pids, before = run.slots(), descriptors(run.pid)
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR1)
    run.wait_for(r"\d+ has closed all", count=2, timeout=30)
    assert descriptors(run.pid) < before + 160
    assert len(status(run)["listeners"]) < 40
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: not is_refused(port) and len(answered_by(port, 20)) == 2, "both to serve")
    assert set(answered_by(port)) == set(pids.values())
    assert run.slots() == pids


# ---- the background ----


def test_goes_into_the_background(app, port):
    """It is told so, each time; what it has left behind is ended, and the slot fails."""
    run = app(LIVES, "background", port, workers=1, options=FAILS, wait=False)
    note = r"^umbel: slot 1.*pid (\d+) went into the background: pid (\d+) had its socket and was ended"
    gone = {int(run.wait_for(note, count=n)[1]) for n in (1, 2)}
    assert len(gone) == 2
    assert run.wait(60) == 1
    assert run.find("slot 1.*has failed") or run.find("failed")
    assert is_refused(port)
