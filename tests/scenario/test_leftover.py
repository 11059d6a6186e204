"""Programs whose server goes into the background while their first process stays: what is left when that ends."""
import os
import shlex
import signal
import sys

import pytest
from control import verb, why
from harness import PROGRAMS, is_refused, wait_until
from intercepting import answered_by, app, is_zombie, ready  # noqa: F401
from intercepting import home, user  # noqa: F401
from test_drain import Verb, connect, drains, wait_busy  # noqa: F401

SAY = b"GET /0 HTTP/1.0\r\n\r\n"
NOTE = r"pid (\d+) has left something in the background \(said once\): pid (\d+) had its socket and was ended"


@pytest.fixture
def left(app, port):
    """left(word..., options=()) is the run, {slot: pid}, and the pids of the servers, in no order."""
    def start(*words, options=(), workers=2):
        server = shlex.join([sys.executable, str(PROGRAMS / "slow.py"), str(port), "background", *words])
        run, pids = app("sh", "-c", f"{server}; exec sleep 600", workers=workers, options=options)
        return run, pids, servers(port, workers)

    return start


def servers(port, count):
    wait_until(lambda: len(answered_by(port, 20, say=SAY)) == count, "all servers to answer")
    return set(answered_by(port, say=SAY))


def living(pids):
    return {pid for pid in pids if not is_zombie(pid)}


def wait_gone(pids):
    wait_until(lambda: not living(pids), f"{pids} to end", 10)


def notes(run):
    return [r["text"] for r in why(run) if r.get("what") == "leftover"]


def test_reload_and_stop(left, port):
    """Each generation's are ended with it, and it is said once."""
    run, pids, old = left()
    for _ in range(2):
        assert verb(run, "reload", "app").returncode == 0
        wait_gone(old)
        old = servers(port, 2)
    assert len(run.find(NOTE)) == 1
    assert run.stop() == 0
    wait_gone(old)
    assert is_refused(port)


def test_its_connections_are_seen(left, connect, port):
    """What is under way is finished."""
    run, pids, old = left(workers=1)
    busy = connect()
    busy.ask("wait")
    wait_busy(pids[1], busy)
    over = Verb(run, "reload", "app")
    wait_until(lambda: drains(run, pids[1]), "it to drain")
    assert {busy.go_on()} == old
    busy.close()
    over.wait()
    wait_gone(old)


def test_one_that_hangs(left):
    """Nobody of the worker's tree has its socket, and nothing of what waits there is taken at several looks: it is not
    closed for that."""
    run, _, _ = left("late", workers=1)
    assert not run.find("has closed its socket")


def test_death(left, port):
    """It does not serve on beside the successor."""
    run, pids, old = left()
    os.kill(pids[1], signal.SIGKILL)
    run.wait_successor(1, pids[1])
    wait_until(lambda: len(living(old)) == 1, "its server to end")
    assert servers(port, 2) > living(old)
    assert [text for text in notes(run) if str(pids[1]) in text]


@pytest.mark.parametrize("again", [False, True], ids=["grace", "again"])
def test_one_that_stays(left, again):
    """Until the end of the grace, or until it is said a second time."""
    run, _, old = left("stays", options=["--grace", "600s" if again else "1s"], workers=1)
    run.send(signal.SIGTERM)
    run.wait_for(r"slot 1 pid \d+ left")
    if again:
        run.wait_for(NOTE)
        assert living(old) == old
        run.send(signal.SIGTERM)
    assert run.wait() == 0
    wait_gone(old)
