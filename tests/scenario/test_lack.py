"""Memory, or descriptors, that run out in the primary, at each place in turn: the app goes on, nothing is left open,
and it is said."""
import itertools
import os
import resource
import signal
import subprocess

import pytest
from control import status, verb
from crowd import Crowd
from harness import SLOW, UMBEL, get, wait_until
from intercepting import BINDINGS, BINDS, answered_by, app, home, user  # noqa: F401
from lacking import descriptors, lack, needs_lack  # noqa: F401

def step(run, pid):
    """One address more, or false: it could not have it."""
    said = rf"^(?:\[\d\] )?{pid} (has bound|cannot (?:bind|listen):)"
    count = len(run.find(said))
    os.kill(pid, signal.SIGUSR1)
    return run.wait_for(said, count=count + 1)[1] == "has bound"


@needs_lack
@pytest.mark.parametrize("policy", ["spread", "shared"])
def test_bind_and_listen(app, port, lack, policy):
    """The n-th allocation fails while the program binds: it hears of that, or nothing, and has its address at the next
    try at the latest. The last orders are never reached: so all places were."""
    run = app(BINDS, "steps", port, workers=1, wait=False, options=["--policy", policy], before=lack.before)
    run.wait_for(r"\d+ waits")
    (pid,) = run.slots().values()
    failed, before, grown = [], descriptors(run.pid), set()
    while not failed or any(failed[-3:]):
        lack.order(len(failed))
        if not step(run, pid):
            assert step(run, pid)
        failed.append(lack.end())
        before, last = descriptors(run.pid), before
        grown.add(before - last)
    assert sum(failed) > 15
    assert len(grown) == 1, "each address has as many sockets"
    heard = len(run.find(rf"{pid} cannot (bind|listen): ENOMEM$"))
    assert heard >= 8 and heard == len(run.find(rf"pid {pid} cannot (bind|listen on) .*: Cannot allocate memory$"))
    for n in range(1, len(failed) + 1):
        with Crowd(port, host=f"127.1.0.{n}") as crowd:
            crowd.go(3)
            assert not crowd.failures and set(crowd.pids()) == {pid}


def wait_ready(run, but=()):
    """{slot: pid} of two ready workers, none of them one of those. By status: what a worker said may be lost."""
    def found():
        pids = {w["slot"]: w["pid"] for w in status(run)["workers"] if w["state"] == "ready"}
        return len(pids) == 2 and not set(pids.values()) & set(but) and pids
    return wait_until(found, "two ready workers")


@needs_lack
@pytest.mark.parametrize("spares", [0, 1])
def test_a_death(app, port, lack, spares):
    """While its successor comes, or a spare steps in: the slot is filled again, whatever failed."""
    run, _ = app(BINDINGS, "plain", port, workers=2, before=lack.before,
                 options=["--spares", spares, "--min-uptime", "1ms"])
    open_before = None
    for before in range(0, 68, 4):
        pids = wait_ready(run)
        wait_until(lambda: [s["state"] for s in status(run)["spares"]] == ["held"] * spares, "a spare")
        open_before = open_before or descriptors(run.pid)
        lack.order(before)
        os.kill(pids[1], signal.SIGKILL)
        wait_until(lambda gone=pids[1]: not os.path.exists(f"/proc/{gone}"), "its end")
        lack.wait(0.5)
        lack.end()
        wait_until(lambda gone=pids[1]: set(answered_by(port, 8)) == set(wait_ready(run, [gone]).values()), "all to answer")
    wait_until(lambda: descriptors(run.pid) <= open_before + 2, "no descriptor to be left")


@needs_lack
def test_a_reload(app, port, lack):
    """It is done, or refused or undone and that said; nobody waits for an answer that never comes."""
    run, _ = app(BINDINGS, "plain", port, workers=2, before=lack.before, options=["--min-uptime", "1ms"])
    for before in (0, 9, 16, 20, 21, 26, 34, 55):
        lack.order(before)
        done = verb(run, "reload", "app")
        lack.end()
        assert done.returncode in (0, 1, 4) and "has just ended" not in done.stderr
        assert done.returncode == 0 or done.stderr
        wait_ready(run)
        answered_by(port, 8)


@needs_lack
def test_a_reload_that_waits_for_another(app, port, lack):
    """It says that it waits, or that it cannot: both end with the other one."""
    run, _ = app(BINDINGS, "plain", port, workers=2, before=lack.before)
    for before in range(18, 26):
        with subprocess.Popen([UMBEL, "reload", "app", "--canary", "1", "--hold", "60s"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=os.environ | {"UMBEL_HOME": str(run.home)}) as first:
            wait_until(lambda: (status(run)["reload"] or {}).get("phase") == "hold", "the hold")
            lack.order(before)
            second = subprocess.Popen(first.args[:3], stderr=subprocess.PIPE, env=os.environ | {"UMBEL_HOME": str(run.home)})
            lack.wait(0.5)
            lack.end()
            assert verb(run, "reload", "app", "--undo").returncode == 0
            first.communicate(timeout=20 * SLOW)
            second.communicate(timeout=20 * SLOW)
            assert second.returncode in (0, 1)


@needs_lack
def test_leaving(app, port, lack):
    """A worker that is to leave, and what it is to be steered from, waited for and looked at before: it leaves."""
    run, _ = app(BINDINGS, "plain", port, workers=2, before=lack.before, options=["--linger", "200ms", "--grace", "2s"])
    for before in range(10, 36, 2):
        pids = wait_ready(run)
        lack.order(before)
        said = verb(run, "scale", "app", 1)
        if said.returncode == 0:
            wait_until(lambda gone=pids[2]: not os.path.exists(f"/proc/{gone}"), "its end")
        lack.end()
        assert said.returncode == 0 or said.stderr
        assert set(answered_by(port, 8)) <= set(pids.values())
        wait_until(lambda: verb(run, "scale", "app", 2).returncode == 0, "the other one")


@needs_lack
def test_a_closed_socket(app, port, lack):
    """It is found at a later look."""
    run, _ = app(BINDINGS, "gone", port, workers=2, before=lack.before)
    gone = int(get(port, "/again"))
    run.wait_for(f"{gone} listens no more")
    with Crowd(port, parallel=40) as crowd:
        lack.order(0)
        crowd.go(40, timeout=15)
        run.wait_for(rf"pid {gone} has closed its socket")
    assert lack.end() == 1
    assert gone not in answered_by(port, 20)


def limit_for(pid, more):
    """The limit with which it may open so many more: there may be gaps between those that it has."""
    open_ = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    free = (n for n in itertools.count() if n not in open_)
    return next(itertools.islice(free, more, None))


def test_descriptors(app, port):
    """The primary may open so many more while one worker binds: the program hears of it, or has its address, perhaps
    without its pads. Those are there when the next one has it too."""
    run = app(BINDS, "steps", port, workers=2, wait=False)
    run.wait_for(r"\d+ waits", count=2)
    pids, limits = run.slots(), resource.prlimit(run.pid, resource.RLIMIT_NOFILE)
    start, grown = descriptors(run.pid), []
    for more in range(10):
        before = descriptors(run.pid)
        resource.prlimit(run.pid, resource.RLIMIT_NOFILE, (limit_for(run.pid, more), limits[1]))
        has_it = step(run, pids[1])
        resource.prlimit(run.pid, resource.RLIMIT_NOFILE, limits)
        assert has_it or step(run, pids[1])
        grown.append(descriptors(run.pid) - before)
    assert set(grown) == {3, 4}, "a door, a side, and one pad or two"
    assert run.find(rf"pid {pids[1]} cannot (bind|listen on) .*: Too many open files$")
    for n in range(1, 11):
        assert step(run, pids[2])
        with Crowd(port, host=f"127.1.0.{n}") as crowd:
            crowd.go(20)
            assert not crowd.failures and set(crowd.pids()) == set(pids.values())
    assert descriptors(run.pid) == start + 10 * 5
