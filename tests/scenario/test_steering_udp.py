"""UDP: each worker has a socket of its own, and the kernel sends what comes from one client to one of them."""
import os
import select
import signal
import socket
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from c_programs import TESTS
from control import verb
from crowd import addresses
from harness import PROGRAMS, SLOW, wait_until
from policies import each_kind, is_gone, listener, policy_of, seats, switch, wait_steered
from test_deaths import freeze

COMMANDS = {"c": [TESTS / "udp"], "node": ["node", PROGRAMS / "udp.js"]}


class Flows:
    """Sockets that ask again and again. pids: {socket: who has answered it}."""

    def __init__(self, port, sources):
        self.to, self.sent = ("127.0.0.1", port), 0
        self.pids, self.waiting = defaultdict(set), {}
        self.sockets = [self._open(source) for source in sources]

    @staticmethod
    def _open(source):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setblocking(False)
        s.bind((source, 0))
        return s

    def ask(self):
        """One datagram from each."""
        for s in self.sockets:
            self.sent += 1
            self.waiting[s] = str(self.sent)
            s.sendto(self.waiting[s].encode(), self.to)

    def read(self):
        for s in select.select(list(self.waiting), [], [], 0.05)[0]:
            pid, number = s.recv(100).decode().split()
            if number == self.waiting[s]:
                del self.waiting[s]
            self.pids[s].add(int(pid))

    def answered(self, what="answers", leave=0, timeout=10):
        end = time.monotonic() + timeout * SLOW
        while len(self.waiting) > leave:
            self.read()
            assert time.monotonic() < end, f"{len(self.waiting)} datagrams were lost: {what}"

    def rounds(self, count):
        for _ in range(count):
            self.ask()
            self.answered()
        return self

    def everybody(self):
        return set().union(*self.pids.values())

    def are_sticky(self):
        return all(len(pids) == 1 for pids in self.pids.values())

    def close(self):
        for s in self.sockets:
            s.close()


@pytest.fixture
def flows():
    made = []

    def make(*words):
        made.append(Flows(*words))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def app(umbel, port):
    def start(kind, workers, *options):
        run = umbel("-n", workers, "--name", "app", "--soak", "100ms", *options, "--", *COMMANDS[kind], port)
        pids = run.wait_listening(workers, 30)
        wait_steered(run, *pids)
        return run, pids

    return start


@each_kind
def test_sticky(app, port, kind, flows):
    """10,000 datagrams from 100 addresses."""
    _, pids = app(kind, 4, "--policy", "sticky")
    clients = flows(port, addresses(100)).rounds(100)
    assert clients.are_sticky()
    assert clients.everybody() == set(pids.values())
    same = flows(port, ["127.0.0.1"] * 20).rounds(5)  # other ports, but one client
    assert len(same.everybody()) == 1


@each_kind
def test_spread(app, port, kind, flows):
    """The default: each flow has its worker, and two of one client may have two."""
    run, pids = app(kind, 4)
    assert policy_of(run) == "spread"
    clients = flows(port, ["127.0.0.1"] * 100).rounds(20)
    assert clients.are_sticky()
    assert clients.everybody() == set(pids.values())


@each_kind
def test_shared(umbel, port, kind, flows):
    run = umbel("-n", 2, "--name", "app", "--policy", "shared", "--", *COMMANDS[kind], port)
    pids = run.wait_listening(2)
    assert policy_of(run) == "shared"
    assert flows(port, ["127.0.0.1"] * 20).rounds(10).everybody() <= set(pids.values())


@each_kind
def test_switching(app, port, kind, flows):
    run, _ = app(kind, 2)
    clients = flows(port, addresses(10) * 2)
    for policy in ["sticky", "spread", "sticky"]:
        clients.rounds(5)
        switch(run, policy)
        assert policy_of(run) == policy
    clients.pids.clear()
    clients.rounds(5)
    assert clients.are_sticky()
    for first, second in zip(clients.sockets[:10], clients.sockets[10:]):  # of one address
        assert clients.pids[first] == clients.pids[second]


@pytest.mark.parametrize("policy", ["spread", "sticky"])
@each_kind
def test_reload_under_load(app, port, kind, policy, flows):
    """No datagram is lost."""
    run, pids = app(kind, 2, "--policy", policy)
    clients = flows(port, addresses(50))
    with ThreadPoolExecutor(1) as pool:
        reload = pool.submit(verb, run, "reload", "app")
        while not reload.done() or not all(map(is_gone, pids.values())):
            clients.rounds(1)
    assert reload.result().returncode == 0, reload.result().stderr
    clients.pids.clear()
    clients.rounds(3)
    assert clients.are_sticky()
    assert clients.everybody() == set(run.wait_listening(2).values())


@each_kind
def test_what_a_dead_worker_had_not_read(app, port, kind, flows):
    """It waits in the slot's socket, and the successor answers it. Meanwhile other slots have new ones."""
    run, pids = app(kind, 2)
    clients = flows(port, ["127.0.0.1"] * 40).rounds(1)
    its_own = sum(found == {pids[1]} for found in clients.pids.values())
    assert 0 < its_own < 40
    freeze(pids[1])
    clients.ask()
    clients.answered("those of the other", leave=its_own)
    os.kill(pids[1], signal.SIGKILL)
    successor = run.wait_successor(1, pids[1])
    clients.answered("those of the dead")
    assert clients.everybody() == {*pids.values(), successor}


@each_kind
def test_all_go_and_come(app, port, kind, flows):
    """Fewer slots, more slots: who is there answers."""
    run, pids = app(kind, 2)
    clients = flows(port, addresses(40)).rounds(2)
    assert clients.everybody() == set(pids.values())
    for count in (1, 3):
        assert verb(run, "scale", "app", count).returncode == 0
        wait_steered(run, *range(1, count + 1))
        clients.pids.clear()
        clients.rounds(2)
        wait_until(lambda count=count: len(run.slots()) == count, f"{count} workers")
        assert clients.everybody() == set(run.wait_listening(count).values())
    assert len(seats(run)) == 3 and listener(run)["handed"] == 0
