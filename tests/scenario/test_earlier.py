"""A run whose primary was killed, and the next one of that name: what had the port is ended, and nothing else."""
import os
import shlex
import signal
import sys

import pytest
from harness import PROGRAMS, SLOW, is_refused, wait_until
from intercepting import answered_by, app, group_of  # noqa: F401
from intercepting import home, user  # noqa: F401
from test_leftover import SAY, living

SAID = r"app: (\d+) process(?:es)? of an earlier run (?:is|are) ended: its primary was killed"


@pytest.fixture
def beneath(app, port):
    """beneath(word..., options=()) is a run whose servers are children of its two workers, and their pids."""
    def start(*words, options=(), before="true"):
        server = shlex.join([sys.executable, str(PROGRAMS / "slow.py"), str(port), *words])
        run, _ = app("sh", "-c", f"{before}; {server}; true", workers=2, options=options)
        wait_until(lambda: len(answered_by(port, 20, say=SAY)) == 2, "both servers to answer")
        return run, set(answered_by(port, say=SAY))

    return start


def kill_alone(run):
    run.crashed = True
    os.kill(run.pid, signal.SIGKILL)
    run.process.wait(20 * SLOW)


def kill(run):
    """Its workers die with it, but nothing that they have started."""
    leaders = list(run.slots().values())
    kill_alone(run)
    wait_until(lambda: not living(leaders), "the workers to be dead")


def count_of(run):
    return [int(found[1]) for found in run.find(SAID)]


def test_next_run_serves(beneath, port):
    run, old = beneath()
    kill(run)
    assert living(old) == old
    run, new = beneath()
    assert not living(old) and len(new) == 2
    assert count_of(run) == [2]
    assert run.stop() == 0
    assert is_refused(port)
    run, _ = beneath()
    assert count_of(run) == []


def test_at_once(beneath):
    """The next run begins when the workers of the first one may not be dead yet."""
    run, old = beneath()
    kill_alone(run)
    run, new = beneath()
    assert not living(old) and len(new) == 2


def test_one_that_stays(beneath):
    """It has the grace."""
    run, old = beneath("stays")
    kill(run)
    run, new = beneath(options=["--grace", "1s"])
    assert not living(old) and len(new) == 2


def test_who_is_left_alone(beneath, umbel, tmp_path):
    """What has a session of its own; another app's, whose primary was killed too; one's whose primary lives."""
    run, old = beneath(before=f"setsid sleep 600 & echo $! > {tmp_path}/$UMBEL_SLOT")
    others = [umbel("-n", 1, "--name", name, "--share", "none", "--", "sh", "-c", "sleep 600; true")
              for name in ("killed", "lives")]
    wait_until(lambda: all(len(group_of(pid)) == 2 for one in others for pid in one.slots().values()) and
               all(one.slots() for one in others), "the others to run")
    beside = {pid for one in others for leader in one.slots().values() for pid in group_of(leader) if pid != leader}
    beside |= {int((tmp_path / slot).read_text()) for slot in "12"}
    kill(others[0])
    kill(run)
    try:
        run, _ = beneath()
        assert not living(old)
        assert count_of(run) == [2]
        assert living(beside) == beside
    finally:
        for pid in beside:
            os.kill(pid, signal.SIGKILL)
        for file in run.home.glob("killed.*"):
            file.unlink()
