"""Who gets how many connections under each policy."""
import os
import signal
import time
from math import sqrt

import pytest
from control import status, verb
from crowd import Crowd, addresses
from harness import SLOW, wait_until, who
from policies import (LIVE, app, each_kind, gate, is_gone, listener,  # noqa: F401
                      policy_of, seats, switch, wait_steered, words)
from test_deaths import freeze

each_size = pytest.mark.parametrize("workers", [2, 4])
CLIENTS = addresses(200)


def by_chance(count, share):
    """How far from its share of so many a worker may be: five standard deviations, one in two million."""
    return 5 * sqrt(count * share * (1 - share))


def one_worker_each(crowd, first=0):
    """{source: the one pid that answered it}"""
    homes = crowd.by_source(first)
    assert all(len(pids) == 1 for pids in homes.values()), homes
    return {source: pids.pop() for source, pids in homes.items()}


def moved(before, now):
    return {source for source in before if before[source] != now[source]}


# ---- rr ----


@each_size
@each_kind
def test_rr_one_at_a_time(app, port, kind, workers):
    _, pids = app(kind, workers, "rr")
    assert who(port, 100 * workers) == dict.fromkeys(pids.values(), 100)


@each_kind
def test_rr_under_load(app, port, kind):
    """Exact, but for those who were full and passed over."""
    run, pids = app(kind, 4, "rr")
    with Crowd(port, parallel=12) as crowd:
        crowd.go(1000)
    assert not crowd.failures
    found = listener(run)
    handed = [seat["handed"] for seat in found["slots"]]
    assert sum(handed) == 1000 and set(crowd.pids()) == set(pids.values())
    assert max(handed) - min(handed) <= 1 + found["skipped"], handed
    if kind == "c":  # twelve are far from what their lanes hold
        assert found["skipped"] == 0


# ---- spread ----


@each_size
@each_kind
def test_spread(app, port, kind, workers):
    """Evenly but for chance, with all of the clients at one address. (Within 5 %: tests/torture.)"""
    run, pids = app(kind, workers, "spread")
    wait_steered(run, *pids)
    with Crowd(port) as crowd:
        crowd.go(1600)
    assert not crowd.failures
    taken, share = crowd.pids(), 1600 / workers
    assert set(taken) == set(pids.values())
    assert all(abs(n - share) < by_chance(1600, 1 / workers) for n in taken.values()), taken
    assert listener(run)["handed"] == 0  # the primary had nothing to do with them


# ---- sticky ----


@each_kind
def test_sticky(app, port, kind):
    """Each client has one worker, and each worker its part of the clients."""
    run, pids = app(kind, 4, "sticky")
    wait_steered(run, *pids)
    with Crowd(port, sources=CLIENTS) as crowd:
        crowd.go(10 * len(CLIENTS))
    assert not crowd.failures
    homes = list(one_worker_each(crowd).values())
    assert set(homes) == set(pids.values())
    assert max(map(homes.count, pids.values())) < 0.35 * len(CLIENTS)


@each_kind
def test_sticky_when_a_slot_dies(app, port, kind, gate):
    """Only its own clients move, to all of the others, and move back when it is back."""
    run, pids = app(kind, 4, "sticky", command=gate.words(kind))
    wait_steered(run, *pids)
    with Crowd(port, sources=CLIENTS) as crowd:
        before = one_worker_each(crowd.go(2 * len(CLIENTS)))
        gate.close()
        os.kill(pids[3], signal.SIGKILL)
        wait_steered(run, 1, 2, 4)
        first = len(crowd.answers)
        meanwhile = one_worker_each(crowd.go(3 * len(CLIENTS)), first)
        gate.open()
        successor = run.wait_successor(3, pids[3])
        wait_steered(run, 1, 2, 3, 4)
        first = len(crowd.answers)
        after = one_worker_each(crowd.go(2 * len(CLIENTS)), first)
    assert not crowd.failures
    its_own = {source for source, pid in before.items() if pid == pids[3]}
    assert moved(before, meanwhile) == its_own and 0 < len(its_own) <= 0.35 * len(CLIENTS)
    assert {meanwhile[source] for source in its_own} == set(pids.values()) - {pids[3]}
    assert after == before | dict.fromkeys(its_own, successor)


def by_slot(run, homes):
    slots = {pid: slot for slot, pid in run.slots().items()}
    return {source: slots[pid] for source, pid in homes.items()}


@each_kind
def test_sticky_through_a_reload(app, port, kind):
    """It is the slot that a client comes back to."""
    run, pids = app(kind, 2, "sticky")
    wait_steered(run, *pids)
    with Crowd(port, sources=CLIENTS) as crowd:
        before = by_slot(run, one_worker_each(crowd.go(len(CLIENTS))))
        assert verb(run, "reload", "app").returncode == 0
        wait_until(lambda: all(map(is_gone, pids.values())), "the old workers to end")
        first = len(crowd.answers)
        after = by_slot(run, one_worker_each(crowd.go(len(CLIENTS)), first))
    assert not crowd.failures and after == before


def test_sticky_with_more_and_fewer_slots(app, port):
    run, pids = app("c", 4, "sticky")
    wait_steered(run, *pids)
    with Crowd(port, sources=CLIENTS) as crowd:
        before = one_worker_each(crowd.go(len(CLIENTS)))
        assert verb(run, "scale", "app", 5).returncode == 0
        wait_steered(run, 1, 2, 3, 4, 5)
        first = len(crowd.answers)
        with_five = one_worker_each(crowd.go(len(CLIENTS)), first)
        assert verb(run, "scale", "app", 4).returncode == 0
        wait_steered(run, 1, 2, 3, 4)
        first = len(crowd.answers)
        after = one_worker_each(crowd.go(len(CLIENTS)), first)
    assert not crowd.failures
    guests = moved(before, with_five)
    fifth = {with_five[source] for source in guests}
    assert len(fifth) == 1 and not fifth & set(pids.values())
    assert len(guests) <= 0.35 * len(CLIENTS)
    assert moved(with_five, after) == guests and set(after.values()) == set(pids.values())


def test_sticky_for_both_families(app, port):
    run, pids = app("c", 4, "sticky")
    wait_steered(run, *pids)
    with Crowd(port, host="::1") as six:
        six.go(40)
    with Crowd(port, sources=CLIENTS[:40]) as four:
        four.go(80)
    assert not six.failures + four.failures
    assert len(six.pids()) == 1  # all of them one client
    assert set(one_worker_each(four).values()) == set(pids.values())


# ---- least ----


@each_kind
def test_least_spares_a_slow_worker(app, port, kind):
    """It gets under a third of what would be its part; beside other tests, where all are slow, two thirds. (How
    much sooner clients are served: tests/torture.)"""
    run, pids = app(kind, 4, "least", args=(2, 1, 20), command=words(kind, "uneven"))
    with Crowd(port, parallel=8) as crowd:
        crowd.go(600)
    assert not crowd.failures
    taken = crowd.pids()
    assert set(taken) == set(pids.values())  # or it would never be found out that it has recovered
    assert taken[pids[1]] < 600 / 4 / (3 if SLOW == 1 else 1.5), taken


@each_kind
def test_least_among_equals(app, port, kind):
    """Nobody is left out."""
    run, pids = app(kind, 4, "least")
    assert set(who(port, 40)) == set(pids.values())


@each_kind
def test_least_tries_again_who_was_slow(app, port, kind):
    """One that stood still for a moment would be the worst for ever: clients are too few to need it."""
    run, pids = app(kind, 2, "least")
    with Crowd(port, parallel=4) as crowd:
        crowd.go(50)
        os.kill(pids[1], signal.SIGSTOP)
        began = time.monotonic()
        while time.monotonic() < began + 0.3:
            crowd.go(1, leave=4)
        os.kill(pids[1], signal.SIGCONT)
        crowd.go()
    with Crowd(port, parallel=1) as crowd:
        wait_until(lambda: pids[1] in crowd.go(5).pids(), "it to be tried", 20)
    assert not crowd.failures


@each_kind
def test_least_tries_a_worker_that_has_recovered(app, port, kind):
    """It was slow once; nobody knows that it is not any more until it is given something."""
    run, pids = app(kind, 2, "least")
    with Crowd(port, parallel=8) as crowd:
        crowd.go(50)
        freeze(pids[1])
        crowd.go(100, leave=8)
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 1, "a second in which it does nothing")
        os.kill(pids[1], signal.SIGCONT)
        crowd.go()
        first = len(crowd.answers)

        def is_tried():
            crowd.go(20)
            return crowd.pids(first)[pids[1]]
        wait_until(is_tried, "it to be tried again", 20)
    assert not crowd.failures


# ---- switching ----


@each_kind
def test_switching(app, port, kind):
    """Each policy does what it does as soon as it is there, whatever was there before."""
    run, pids = app(kind, 2, "rr")
    for policy in ["sticky", "rr", "spread", "sticky", "least", "rr"]:
        said = switch(run, policy).stdout
        assert policy_of(run) == policy
        assert verb(run, "policy", "app").stdout.split()[-1] == policy, said
        before = listener(run)["handed"]
        taken = who(port, 40)
        assert sum(taken.values()) == 40
        assert listener(run)["handed"] - before == (0 if policy in ("sticky", "spread") else 40)
        if policy == "rr":
            assert taken == dict.fromkeys(pids.values(), 20)
        if policy == "sticky":
            assert len(taken) == 1
    assert run.slots() == pids


@pytest.mark.parametrize("before", LIVE)
def test_workers_that_come_later(app, port, before):
    """A policy that was switched to is also that of slots which come later, and of successors."""
    run, pids = app("c", 2, before)
    after = "spread" if before != "spread" else "rr"
    switch(run, after)
    assert verb(run, "scale", "app", 3).returncode == 0
    assert verb(run, "reload", "app").returncode == 0
    wait_until(lambda: len(seats(run)) == 3, "three that serve")
    with Crowd(port) as crowd:
        crowd.go(90)
    assert set(crowd.pids()) == set(run.wait_listening(3).values())
    if after == "rr":
        assert set(crowd.pids().values()) == {30}


# ---- what cannot be had ----


def test_a_policy_that_does_not_exist(umbel, app):
    run = umbel("-n", 1, "--policy", "fair", "--", "true")
    assert run.wait() == 2
    (line,) = run.find("fair", "stderr")
    for policy in [*LIVE, "shared"]:
        assert policy in line.string
    run, _ = app("c", 1, "rr")
    done = verb(run, "policy", "app", "fair")
    assert done.returncode == 2 and "sticky" in done.stderr
    assert policy_of(run) == "rr"


@pytest.mark.parametrize("address, wanted, possible", [
    ("unix", "sticky", "rr"), ("unix", "spread", "least"), ("unix", "shared", None),
    ("udp", "rr", "spread"), ("udp", "least", "sticky"), ("tcp", "shared", None)])
def test_a_policy_that_a_listener_cannot_have(umbel, port, tmp_path, address, wanted, possible):
    """Refused with the reason and with what is possible; it stays as it is."""
    where = {"unix": f"unix://{tmp_path}/s", "tcp": f"tcp://127.0.0.1:{port}",
             "udp": f"udp://127.0.0.1:{port}"}[address]
    run = umbel("-n", 1, "--name", "app", "--", words("c", "under_node")[0], where)
    run.wait_listening(1)
    before = policy_of(run)
    done = verb(run, "policy", "app", "--listener", where, wanted)
    assert done.returncode not in (0, 2), done
    assert done.stderr.startswith("umbel: ") and address in done.stderr.lower(), done.stderr
    assert possible is None or possible in done.stderr, done.stderr
    assert policy_of(run) == before


def test_a_listener_that_is_not_there(app, port):
    run, _ = app("c", 1, "rr")
    done = verb(run, "policy", "app", "--listener", "tcp://127.0.0.1:1", "sticky")
    assert done.returncode not in (0, 2) and "127.0.0.1:1" in done.stderr, done
    assert policy_of(run) == "rr"


def test_a_policy_for_the_app_goes_where_it_can(umbel, port, tmp_path):
    """The others keep what they have, at first their default, which is said once."""
    addresses = [f"tcp://127.0.0.1:{port}", f"udp://127.0.0.1:{port}", f"unix://{tmp_path}/s"]
    run = umbel("-n", 2, "--name", "app", "--policy", "sticky", "--", words("c", "under_node")[0], *addresses)
    run.wait_listening(2)
    run.wait_for(r"listens on unix:", count=2)

    def policies(wanted):
        def are_so():
            found = {each["address"]: each["policy"] for each in status(run)["listeners"]}
            return list(map(found.get, addresses)) == wanted
        return are_so

    wait_until(policies(["sticky", "sticky", "rr"]), "three listeners under their policies")
    assert len(run.find(r"^umbel: .*sticky.*unix|^umbel: .*unix.*sticky")) == 1
    assert verb(run, "policy", "app", "least").returncode == 0
    wait_until(policies(["least", "sticky", "least"]), "other policies")
