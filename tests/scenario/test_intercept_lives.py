"""Intercepted programs whose sockets have lives of their own: of another user, bound long before they listen, closed
by all, one after the other, or taken into the background; and programs followed by ones of another kind."""
import os
import shlex
import signal
from pathlib import Path

import pytest
from c_programs import TESTS
from control import status
from crowd import Crowd
from harness import is_refused, wait_until
from intercepting import BINDINGS, NOBODY, answered_by, app, home, needs_root, ready, user  # noqa: F401
from test_deaths import freeze
from test_intercept import check_can, check_listener, verb_beside
from test_intercept_rights import ask_udp
from test_spares import held

LIVES = TESTS / "lives"
FAILS = ["--max-failures", 2]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def owners(pid, port):
    """Whose the sockets are that it has bound to that port."""
    here = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            row = line.split()
            if int(row[1].rpartition(":")[2], 16) == port and row[3] == "0A":
                here.add(f"socket:[{row[9]}]")
    fds = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    return {os.stat(fd).st_uid for fd in fds if os.readlink(fd) in here}


def steered_to(run, port):
    """Slots."""
    found = [one for one in status(run)["listeners"] if one["address"].endswith(f":{port}")]
    return [seat["slot"] for one in found for seat in one["slots"] if seat["steered"]]


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
    """A group of root's is joined by sockets of root's alone: what nobody's program has not bound stays so."""
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


# ---- forked before it listens ----


@pytest.mark.parametrize("spares", [0, 1], ids=["", "spares"])
def test_successors_of_one_that_forks(app, port, spares):
    """Its children have the socket from before listen(): the dead one's does not take its place."""
    run, pids = app(LIVES, "forks", port, workers=2, options=["--spares", spares])
    assert set(answered_by(port, 30)) == set(pids.values())
    for _ in range(2):
        if spares:
            held(run, spares)
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        pids = {slot: run.wait_successor(slot, pid) for slot, pid in pids.items()}
        assert set(answered_by(port, 30)) == set(pids.values())


def test_successors_of_one_that_forks_with_datagrams(app, port):
    run = app(LIVES, "forks-udp", port, workers=2, options=["--share-udp"], wait=False)
    run.wait_for(r"\d+ has udp", count=2)
    before = run.slots()
    assert set(ask_udp(port, 30)) == set(before.values())
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    run.wait_for(r"\d+ has udp", count=4)
    wait_until(lambda: len(steered_to(run, port)) == 2, "both successors to be steered to")
    assert set(ask_udp(port, 30)) == set(run.slots().values())
    assert not set(run.slots().values()) & set(before.values())


# ---- two apps ----


@pytest.fixture
def gates(tmp_path):
    return {name: tmp_path / name for name in ("app", "other")}


def check_first(run, port, pids):
    """The app that listened first is alone there, also with a successor."""
    assert set(answered_by(port)) == set(pids.values())
    os.kill(pids[1], signal.SIGKILL)
    run.wait_successor(1, pids[1])
    assert set(answered_by(port)) == set(run.slots().values())
    check_listener(run, port, workers=2)


def test_two_apps_that_bind_before_they_listen(app, umbel, port, gates):
    """Both have the port, and nobody listens yet: who listens second is told that it is taken."""
    run = app(LIVES, "early", port, gates["app"], workers=2, wait=False)
    other = umbel("-n", 2, "--name", "other", *FAILS, "--", LIVES, "early", port, gates["other"])
    for one in (run, other):
        one.wait_for(r"\d+ has bound", count=2)
    gates["app"].touch()
    pids = run.wait_listening(2)
    gates["other"].touch()
    other.wait_for("listen: Address already in use", count=2)
    said = rf"^umbel: slot \d.*pid \d+ cannot listen on tcp://0.0.0.0:{port}: Address already in use"
    other.wait_for(said, count=2)
    assert other.wait(60) == 1
    check_first(run, port, pids)


def test_two_apps_with_spares(app, umbel, port, other_port, gates):
    """The spares of both have bound and are held: that of the second is told so, too, when it steps in."""
    spares = ["--spares", 1]
    run = app(LIVES, "early", port, gates["app"], workers=2, options=spares, wait=False)
    other = umbel("-n", 2, "--name", "other", *spares, "--", LIVES, "early", port, gates["other"], other_port)
    run.wait_for(r"\d+ has bound", count=2)
    other.wait_for(r"spare pid \d+ is held")
    gates["app"].touch()
    pids = run.wait_listening(2)
    held(run, 1)
    gates["other"].touch()
    other.wait_for("listen: Address already in use", count=3)
    check_first(run, port, pids)
    assert other.stop() == 0
    check_first(run, port, ready(run, 2))


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


def check_all_close(run, pids, ports):
    run.wait_for(r"\d+ listens no more", count=2)
    for one in ports:
        wait_until(lambda one=one: is_refused(one), f"{one} to be refused", 10)
    assert run.slots() == pids
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR2)
    run.wait_for(r"\d+ listens again", count=2)
    assert set(answered_by(ports[1])) == set(pids.values())


def test_the_last_one_closes(app, port, other_port):
    """Clients are refused, as they would be by the program alone. It may listen again."""
    run, pids = app(LIVES, "quits", port, other_port, workers=2)
    for n, pid in enumerate(pids.values()):
        os.kill(pid, signal.SIGUSR1)
        run.wait_for(rf"{pid} listens no more")
        wait_until(lambda n=n: len(steered_to(run, other_port)) == 1 - n, "it to be steered to no more")
    check_all_close(run, pids, [port, other_port])


def test_all_close_at_once(app, port, other_port):
    """Between two looks of the primary: nobody knows in which order."""
    run, pids = app(LIVES, "quits", port, other_port, workers=2)
    freeze(run.pid)
    try:
        for pid in pids.values():
            os.kill(pid, signal.SIGUSR1)
        for pid in pids.values():
            wait_until(lambda pid=pid: not owners(pid, other_port), "it to shut its socket down")
    finally:
        os.kill(run.pid, signal.SIGCONT)
    check_all_close(run, pids, [port, other_port])


def test_all_listen_again(app, port, other_port):
    """After all had shut down: whoever comes later can bind there, too."""
    run, pids = app(LIVES, "quits", port, other_port, workers=2)
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR1)
    wait_until(lambda: is_refused(other_port), "clients to be refused", 10)
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR2)
        run.wait_for(rf"{pid} listens again")
    wait_until(lambda: len(steered_to(run, other_port)) == 2, "both to be steered to again")
    os.kill(pids[1], signal.SIGKILL)
    wait_until(lambda: run.slots().get(1) not in (None, pids[1]), "a successor")
    wait_until(lambda: len(steered_to(run, other_port)) == 2, "the successor to be steered to")


def test_one_shuts_down_and_listens_again(app, port, other_port):
    """The other has all meanwhile."""
    run, pids = app(LIVES, "quits", port, other_port, workers=2)

    for n in (1, 2):
        os.kill(pids[1], signal.SIGUSR1)
        run.wait_for(rf"{pids[1]} listens no more", count=n)
        wait_until(lambda: steered_to(run, other_port) == [2], "the other to be steered to alone")
        assert set(answered_by(other_port, 30)) == {pids[2]}
        os.kill(pids[1], signal.SIGUSR2)
        run.wait_for(rf"{pids[1]} listens again", count=n)
        wait_until(lambda: steered_to(run, other_port) == [1, 2], "both to be steered to")
        assert set(answered_by(other_port)) == set(pids.values())
    assert run.slots() == pids


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
        with Crowd(port, parallel=8) as crowd:
            done = verb_beside(crowd, run, "reload", "app")
            crowd.go(50)
        assert done.returncode == 0, done.stderr
        assert not crowd.failures, crowd.failures[:3]
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
    assert descriptors(run.pid) < before + 150  # of some that are not found yet
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
    gone = [run.wait_for(note, count=n).groups() for n in (1, 2)]
    assert len({pid for pids in gone for pid in pids}) == 4
    assert run.wait(60) == 1
    assert run.find("slot 1 failed: 2 workers in a row ended before they were ready")
    assert is_refused(port)


def test_listens_in_the_background(app, port):
    """Nobody is there who would answer its bind() then: it cannot."""
    run = app(LIVES, "background", port, "late", workers=1, options=FAILS, wait=False)
    assert run.wait(60) == 1
    assert is_refused(port)
