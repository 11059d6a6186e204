"""What the system refuses while addresses are served: descriptors in flight, a socket more, a program that steers.
Connections wait or go another way; none is lost."""
import os
import resource
import signal
import time

import pytest
from c_programs import TESTS
from control import verb
from crowd import Crowd, addresses
from harness import SLOW, wait_until, who
from intercepting import AS_NOBODY, FORBID, home, user  # noqa: F401
from policies import LIVE, app, each_kind, gate, seats, switch  # noqa: F401
from test_deaths import freeze
from test_handoff import Clients
from test_limits_connections import cpu_seconds, lowest_free, wait_quiet

CLIENTS = addresses(64)
TOO_MANY = r"(?i)^umbel: .*too many references"
MOST = 100  # descriptors of a process: enough for a round of each, fewer than three may have under way
NO_STEERING = r"the kernel does not take the program that steers its connections: Cannot allocate memory"


# ---- descriptors in flight ----


class Leaving(Clients):
    def leave(self):
        """Those who were told go."""
        for s in self.pids:
            s.close()
            self.sockets.remove(s)
        self.pids = {}


@pytest.mark.parametrize("user", ["nobody"], indirect=True)
def test_too_many_descriptors_in_flight(umbel, port, user):
    """As many as its soft limit are under way, for a user without privileges (K102). It waits, without spinning, says
    so once, and goes on when they have been taken."""
    run = umbel("-n", 3, "--policy", "rr", "--", TESTS / "serve", f"tcp://:{port}",
                before=[*AS_NOBODY, "prlimit", f"--nofile={MOST}:{MOST}"])
    pids = run.wait_listening(3)
    for pid in pids.values():
        freeze(pid)
    clients = Leaving(port)
    clients.open(250)
    run.wait_for(TOO_MANY)
    used, began = cpu_seconds(run.pid), time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.7, "most of a second to pass")
    assert cpu_seconds(run.pid) - used < 0.2 * SLOW
    assert len(run.find(TOO_MANY)) == 1
    for pid in pids.values():
        os.kill(pid, signal.SIGCONT)
    while clients.sockets:  # each worker keeps those that it has, and has few descriptors too
        clients.wait(min(len(clients.sockets), 20))
        clients.leave()
    run.wait_for("takes connections again")
    assert run.slots() == pids


# ---- a socket more ----


@each_kind
def test_no_descriptor_for_a_side(app, port, kind, gate):
    """The worker is given what is handed over, under every policy, and its successor has a socket again."""
    run, pids = app(kind, 2, "rr", command=gate.words(kind))
    gate.close()
    assert verb(run, "scale", "app", 3).returncode == 0
    run.wait_for("slot 3 pid .* started")
    wait_quiet(run.pid)
    before = resource.prlimit(run.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(run.pid, resource.RLIMIT_NOFILE, (lowest_free(run.pid), before[1]))
    gate.open()
    pids = run.wait_listening(3)
    resource.prlimit(run.pid, resource.RLIMIT_NOFILE, before)
    assert who(port, 30) == dict.fromkeys(pids.values(), 10)
    for policy in LIVE:
        switch(run, policy)
        with Crowd(port, sources=CLIENTS) as crowd:
            crowd.go(128)
        assert not crowd.failures
        assert policy == "spread" or set(crowd.pids()) == set(pids.values())
    assert not seats(run)[3]["steered"]
    assert verb(run, "reload", "app").returncode == 0
    wait_until(lambda: seats(run)[3]["steered"], "a socket for slot 3")


# ---- a program that steers ----


@each_kind
def test_no_memory_for_a_program(umbel, port, kind):
    """The kernel chooses by its own hash; what comes where nobody was steered to is handed over."""
    words = [TESTS / "keepalive"] if kind == "c" else ["node", "keepalive.js"]
    run = umbel("-n", 3, "--name", "app", "--policy", "spread", "--", *words, port, before=[FORBID, "steering"])
    pids = run.wait_listening(3)
    run.wait_for(fr"steering: tcp://\S+:{port}: {NO_STEERING}")
    for policy in LIVE:
        switch(run, policy)
        with Crowd(port, sources=CLIENTS) as crowd:
            crowd.go(256)
        assert not crowd.failures and set(crowd.pids()) == set(pids.values())
    assert len(run.find(NO_STEERING)) == 1
    assert not any(seat["steered"] for seat in seats(run).values())
