"""shares, switching: who gets how much under each policy, by counting; and policies that change under load."""
import statistics
import time
from math import sqrt

from app import KINDS, OPTIONS, PROGRAMS, TESTS, App
from crowd import Crowd, addresses
from harness import wait_until
from load import closed_loop
from reloads import under_load
from rolling import CLIENTS, LIVE, under

UNEVEN = {"c": [TESTS / "uneven"], "node": ["node", PROGRAMS / "uneven.js"]}
BETTER = {"c": 10, "node": 3}  # the 99th percentile of rr, to that of least
SLOW_SLOT = 1
MS, SLOW_MS = 1, 10


def pids(app):
    return {w["pid"]: w["slot"] for w in app.wait_settled(app.workers)["workers"]}


def count_slots(app, crowd, count):
    """[connections] by slot"""
    slots, taken = pids(app), crowd.go(count, timeout=300).pids()
    assert not crowd.failures, crowd.failures[:10]
    assert set(taken) <= set(slots), f"{set(taken) - set(slots)} are no workers"
    return [taken[pid] for pid in sorted(slots, key=slots.get)]


def steered(app):
    (listener,) = app.status()["listeners"]
    return all(seat["steered"] for seat in listener["slots"])


def rr(app, count):
    with Crowd(app.port, parallel=1) as crowd:
        shares = count_slots(app, crowd, count)
    assert max(shares) - min(shares) <= (1 if count % app.workers else 0), f"one at a time: {shares}"
    (before,) = app.status()["listeners"]
    with Crowd(app.port, parallel=16) as crowd:
        count_slots(app, crowd, count)
    (after,) = app.status()["listeners"]
    handed = [a["handed"] - b["handed"] for a, b in zip(after["slots"], before["slots"])]
    skipped = after["skipped"] - before["skipped"]
    assert sum(handed) == count and (skipped or max(handed) - min(handed) <= 1), f"{handed}, {skipped} skipped"
    return f"one at a time {shares}, under load {handed} ({skipped} skipped)"


def spread(app, count):
    wait_until(lambda: steered(app), "the kernel to steer")
    with Crowd(app.port, parallel=16) as crowd:
        shares = count_slots(app, crowd, count)
    share = count / app.workers
    # Within 5 %: for 20,000 connections; of fewer chance makes more.
    allowed = max(0.05 * share, 5 * sqrt(share * (1 - 1 / app.workers)) if count < 20000 else 0)
    assert all(abs(n - share) <= allowed for n in shares), f"{shares}: more than {allowed:.0f} from {share:.0f}"
    return f"{shares}"


def sticky(app, count):
    wait_until(lambda: steered(app), "the kernel to steer")
    clients = addresses(200)
    with Crowd(app.port, parallel=16, sources=clients) as crowd:
        shares = count_slots(app, crowd, count)
        unstable = [source for source, found in crowd.by_source().items() if len(found) > 1]
    assert not unstable and min(shares) > 0, f"{shares}, unstable: {unstable}"
    return f"{shares} of {len(clients)} clients, each with one"


def handed(app):
    (listener,) = app.status()["listeners"]
    return {seat["slot"]: seat["handed"] for seat in listener["slots"]}


def measure(app, seconds):
    """(p99 in ms, share of the slow one)"""
    before = handed(app)
    answered, failed, p99 = closed_loop(app.port, 32, seconds)
    assert answered and not failed, f"{failed} of {answered + failed} failed"
    now = handed(app)
    given = {slot: now[slot] - before[slot] for slot in now}
    return p99, given[SLOW_SLOT] / sum(given.values())


def uneven(kind, policy):
    return App(UNEVEN[kind], MS, SLOW_SLOT, SLOW_MS, options=under(policy))


def least(say, kind, seconds, pairs, judged):
    """Apps of their own: what `least` knows it need not learn again."""
    ratios, parts = [], []
    with uneven(kind, "rr") as by_turns, uneven(kind, "least") as by_least:
        for app in (by_turns, by_least):
            app.wait_settled(app.workers)
            measure(app, 1)
        for _ in range(pairs):
            (slow, _), (fast, part) = measure(by_turns, seconds), measure(by_least, seconds)
            ratios.append(slow / fast)
            parts.append(part)
            say(f"{kind}: p99 {slow:.1f} ms under rr, {fast:.1f} ms under least; the slow one of four gets "
                f"{100 * part:.1f} %")
    # A third of its equal share; where two builds are tested at once, two thirds.
    most = 1 / 4 / 3 if judged else 1 / 4 / 1.5
    assert statistics.median(parts) < most, f"{kind}: the slow one's parts under least: {parts}"
    better = statistics.median(ratios)
    assert not judged or better >= BETTER[kind], f"{kind}: p99 only {better:.1f} times better ({ratios})"
    return f"{kind}: least is {better:.1f} times better"


def shares(say, sizes, count, seconds, pairs):
    for kind in KINDS:
        for workers in sizes:
            for act in (rr, spread, sticky):
                options = [*OPTIONS, "--policy", act.__name__]
                with App(kind, workers=workers, options=options) as app:
                    say(f"{kind} {act.__name__}, {workers} workers: {act(app, count)}")
    return ", ".join(least(say, kind, seconds, pairs, judged=pairs >= 5) for kind in KINDS)


def switching(say, seconds, every):
    """Another policy every so many seconds."""
    def switch(app):
        end, turns = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            app.policy(LIVE[turns % len(LIVE)])
            turns += 1
            time.sleep(every)  # the load goes on meanwhile

    total = 0
    for kind in KINDS:
        with App(kind, workers=4, options=under("rr")) as app:
            done, text = under_load(app, CLIENTS, switch, 1, f"x {seconds} s, another policy each {every} s")
        total += done
        say(f"{kind}: {text}")
    return f"{total} requests, 0 failed"
