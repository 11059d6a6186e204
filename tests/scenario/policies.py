"""What the tests of policies share: apps under a policy, a gate that holds back their workers, and what their
status says of listeners."""
import os

import pytest
from c_programs import TESTS
from control import status, verb
from harness import PROGRAMS, wait_until

HANDED = ["rr", "least"]
STEERED = ["sticky", "spread"]
LIVE = HANDED + STEERED  # those that can be switched to
KINDS = ["c", "node"]

each_kind = pytest.mark.parametrize("kind", KINDS)
each_live = pytest.mark.parametrize("policy", LIVE)

WINDOW = {"node": 4, "c": 64}  # connections that a worker may have which it has not taken


def words(kind, name="keepalive"):
    """The command of a test program that is there in C and for Node."""
    return [TESTS / name] if kind == "c" else ["node", PROGRAMS / f"{name}.js"]


class Gate:
    """Workers started while it is closed wait before they become the program."""

    def __init__(self, path):
        self.path = path

    def close(self):
        self.path.touch()

    def open(self):
        self.path.unlink()

    def words(self, kind, name="keepalive"):
        *runner, program = words(kind, name)
        gated = PROGRAMS / ("gated" if kind == "c" else "gated.js")
        return [*runner, gated, self.path, program]


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")


@pytest.fixture
def app(umbel, port):
    """app("c", 4, "rr") is keepalive with its 4 workers ready: (run, {slot: pid}). Its name is app. options:
    of `umbel run`; command, where, args: instead of keepalive, of its port; after that.
    popen: before, and Popen's."""
    def start(kind, workers, policy, *options, args=(), command=None, where=port, **popen):
        run = umbel("-n", workers, "--name", "app", "--policy", policy, "--soak", "100ms", *options, "--",
                    *(command or words(kind)), where, *args, **popen)
        pids = run.wait_listening(workers, 30)
        wait_until(lambda: all(w["state"] == "ready" for w in status(run)["workers"]), "ready workers")
        return run, pids

    return start


def policy_of(run):
    return listener(run)["policy"]


def switch(run, policy, *options):
    done = verb(run, "policy", "app", policy, *options)
    assert done.returncode == 0, done.stderr
    return done


def listener(run):
    """The only one."""
    (found,) = status(run)["listeners"]
    return found


def seats(run):
    """{slot: what status says of it}"""
    return {seat["slot"]: seat for seat in listener(run)["slots"]}


def wait_steered(run, *slots):
    """Until the kernel gives new connections to these slots."""
    def is_so():
        return sorted(n for n, seat in seats(run).items() if seat["steered"]) == sorted(slots)
    wait_until(is_so, f"connections to be steered to {slots}")


def is_gone(pid):
    return not os.path.exists(f"/proc/{pid}")
