"""How many connections at a time: the app's limit, and what the system allows the primary and its workers."""
import os
import resource
import signal
import threading
import time

import pytest
from c_programs import TESTS
from control import verb
from crowd import Crowd
from harness import PROGRAMS, SLOW, stat, wait_until
from policies import HANDED, app, each_kind, listener  # noqa: F401
from test_handoff import Clients
from test_steering import in_hand

each_handed = pytest.mark.parametrize("policy", HANDED)

# They tell each connection their pid and keep it until its client closes it.
KEEPERS = {"c": [TESTS / "serve"], "node": ["node", PROGRAMS / "tcp.js"]}


@pytest.fixture
def keeper(app, port):
    def start(kind, workers, policy, *options, **how):
        where = f"tcp://:{port}" if kind == "c" else port
        return app(kind, workers, policy, *options, command=KEEPERS[kind], where=where, **how)

    return start


class Few(Clients):
    """Clients that see when there are too many of them."""

    def __init__(self, port, most):
        super().__init__(port)
        self.most = most

    def read(self):
        super().read()
        told = len(self.pids)
        assert told <= self.most, f"{told} at a time"
        return self.pids

    def leave(self, count):
        """That many of those who were told."""
        for s in list(self.pids)[:count]:
            s.close()
            self.sockets.remove(s)
            del self.pids[s]


# ---- max_connections ----


@each_handed
@each_kind
def test_never_more_at_once(keeper, port, kind, policy):
    """The kernel queues the others, and they have their turn."""
    run, pids = keeper(kind, 2, policy, "--max-connections", 10)
    clients = Few(port, 10)
    clients.open(40)
    clients.wait(10)
    wait_until(lambda: clients.read() and listener(run)["queued"] == 30, "the others to wait in the kernel")
    for count in (1, 9, 10, 4, 6):  # 10 are left then
        clients.leave(count)
        clients.wait(10)
    assert set(clients.pids.values()) == set(pids.values())
    clients.leave(10)
    assert not clients.sockets


class Watch(threading.Thread):
    """Looks at a worker's connections all the time. most: at a time."""

    def __init__(self, directory, pid):
        super().__init__(daemon=True)
        self.directory, self.pid, self.most, self.over = directory, pid, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.0005):
            self.most = max(self.most, in_hand(self.directory, self.pid))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


@each_handed
@each_kind
def test_never_more_under_load(app, port, tmp_path, kind, policy):
    run, pids = app(kind, 1, policy, "--max-connections", 5, "--env", f"TORTURE_LOG={tmp_path}", args=(10,))
    with Crowd(port, parallel=50) as crowd, Watch(tmp_path, pids[1]) as watch:
        crowd.go(300)
    assert not crowd.failures and len(crowd.answers) == 300
    assert 1 < watch.most <= 5


@each_kind
def test_a_worker_dies_with_its_connections(keeper, port, kind):
    """They count no more."""
    run, pids = keeper(kind, 2, "rr", "--max-connections", 4)
    clients = Few(port, 4)
    clients.open(12)
    clients.wait(4)
    dead = [s for s, pid in clients.read().items() if pid == pids[1]]
    assert len(dead) == 2
    os.kill(pids[1], signal.SIGKILL)
    run.wait_successor(1, pids[1])
    for s in dead:
        s.close()
        clients.sockets.remove(s)
        del clients.pids[s]
    clients.wait(4)
    clients.leave(4)
    clients.wait(4)
    assert len(clients.sockets) == 6
    clients.close()


@each_kind
def test_a_limit_and_a_policy_that_steers(app, port, kind):
    """Who counts is who hands over."""
    run, _ = app(kind, 2, "rr", "--max-connections", 10)
    done = verb(run, "policy", "app", "spread")
    assert done.returncode not in (0, 2) and "limit" in done.stderr and "rr and least" in done.stderr, done
    assert listener(run)["policy"] == "rr"


def test_a_limit_from_the_start_and_a_policy_that_steers(umbel, port):
    run = umbel("-n", 2, "--policy", "spread", "--max-connections", 10, "--", TESTS / "serve", f"tcp://:{port}")
    assert run.wait() in (1, 2)
    assert run.find(r"max.connections.*rr.*least", "stderr"), run.output()


# ---- the primary has no descriptors ----


def wait_quiet(pid):
    """Nothing that it has sent waits for an answer: else a descriptor below the limit comes free later."""
    seen = []

    def is_quiet():
        seen.append(sorted(os.listdir(f"/proc/{pid}/fd")))
        return len(seen) > 10 and all(fds == seen[-1] for fds in seen[-10:])

    wait_until(is_quiet, "the primary's descriptors to stay")


def lowest_free(pid):
    """The least that is seen: it opens something for a moment now and then."""
    def now():
        taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
        return next(n for n in range(len(taken) + 1) if n not in taken)
    return min(now() for _ in range(50))


def cpu_seconds(pid):
    return sum(map(int, stat(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


SAYS = r"(?i)^umbel: .*(too many open files|EMFILE|out of descriptors)"


@each_handed
@each_kind
def test_primary_without_descriptors(keeper, port, kind, policy):
    """It waits, without spinning, says so once, and goes on where it was."""
    run, pids = keeper(kind, 2, policy)
    before = resource.prlimit(run.pid, resource.RLIMIT_NOFILE)
    for times in (1, 2):
        wait_quiet(run.pid)
        resource.prlimit(run.pid, resource.RLIMIT_NOFILE, (lowest_free(run.pid), before[1]))
        clients = Clients(port)
        clients.open(20)
        run.wait_for(SAYS, count=times)
        used, began = cpu_seconds(run.pid), time.monotonic()
        wait_until(lambda began=began: time.monotonic() - began > 0.7, "most of a second to pass")
        assert cpu_seconds(run.pid) - used < 0.2 * SLOW
        assert len(run.find(SAYS)) == times and not clients.read()
        resource.prlimit(run.pid, resource.RLIMIT_NOFILE, before)
        clients.wait(20)
        clients.close()
    assert run.slots() == pids


# ---- a worker has no descriptors ----


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_with_few_descriptors(keeper, port, workers):
    """It is given what it has descriptors for; the others wait for theirs. (Handed more it would lose them, and
    nobody would be told: unix(7).)"""
    run, pids = keeper("c", workers, "rr", before=["prlimit", "--nofile=40:4096"])
    clients = Clients(port)
    clients.open(150)
    wait_until(lambda: len(clients.read()) >= 15 * workers, "a good part of them to be told")
    left = 150
    while left:
        clients.wait(min(left, 15 * workers))
        assert len(clients.pids) < 40 * workers
        for s in list(clients.pids):
            s.close()
            clients.sockets.remove(s)
            del clients.pids[s]
            left -= 1
    assert run.slots() == pids
