"""Rows about connections: every policy beside Node's cluster, a hand-written SO_REUSEPORT server and nginx, CPU of
workers included; what steering costs the primary and the workers; a slow worker under `least`."""
import dataclasses
import json
import os
import re
import signal
import time

from measure import (UMBEL, Failed, Row, Servers, alternate, breakdown, children, closed_loop, cpu_ns,
                     note, run, strace_counts, tree)
from sides import has_nginx, nginx, node, reuseport, umbel_c, umbel_node, uneven

POLICIES = ("rr", "least", "sticky", "spread", "shared")


@dataclasses.dataclass
class Slice:
    us: float  # CPU of primary and workers for a connection
    per_second: float


def whole_slice(server, plan):
    """Clients of many addresses: `sticky` would give all of one address to one worker."""
    pids = tree(server.pid)
    before = sum(map(cpu_ns, pids))
    loads = closed_loop(server, plan.short, clients=128, addresses=64, processes=2)
    used = sum(map(cpu_ns, pids)) - before
    return Slice(used / 1e3 / sum(load.requests for load in loads),
                 sum(load.requests / load.seconds for load in loads))


def measure_whole(servers, plan):
    sides = {name: lambda s=s: whole_slice(s, plan) for name, s in servers.items()}
    rounds = alternate(sides, plan, key=lambda s: s.us)

    def taken(name, field):
        return [getattr(r[name], field) for r in rounds]

    return taken


def policies_c(plan):
    with Servers() as servers:
        sides = {"hand-written": reuseport(servers)}
        sides |= {f"C, {policy}": umbel_c(servers, policy=policy) for policy in POLICIES}
        if has_nginx():
            sides |= {"nginx, reuseport": nginx(servers, " reuseport"),
                      "nginx, one socket": nginx(servers)}
        else:
            note("nginx is not here.")
        taken = measure_whole(sides, plan)
    other = taken("hand-written", "us")
    return [Row(f"whole CPU/connection, {name} : hand-written", "us", taken(name, "us"), other)
            for name in sides if name != "hand-written"]


def furthest(server):
    """By how many per cent the worker furthest from its share missed it, since the start."""
    pids = children(server.pid)
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)
    server.wait_for("served ", len(pids), 10)
    served = [int(m[1]) for line in server.lines if (m := re.search(r"served (\d+)", line))]
    share = sum(served) / len(served)
    # What is not shown would end the program as a divisor.
    return [max(0.01, *(abs(n / share - 1) * 100 for n in served))]


def note_skipped(name, server):
    """A worker that is full when its turn comes misses it: under `rr` that makes shares uneven."""
    text = run(["env", f"UMBEL_HOME={server.home.name}", UMBEL, "status", "app", "--json"], 10)
    (listener,) = json.loads(text)["listeners"]
    note(f"{name}: {listener['skipped']:,} turns were passed over while {listener['handed']:,} connections "
         "were handed over.")


def policies_node(plan):
    with Servers() as servers:
        # What is compared most stands side by side: then nothing else happens between its slices.
        sides = {"Node's rr": node(servers), "Node, rr": umbel_node(servers, policy="rr"),
                 "Node, spread": umbel_node(servers, policy="spread"),
                 "Node's none": node(servers, policy="none")}
        sides |= {f"Node, {policy}": umbel_node(servers, policy=policy)
                  for policy in POLICIES if f"Node, {policy}" not in sides}
        taken = measure_whole(sides, plan)
        missed = {name: furthest(server) for name, server in sides.items()}
        note_skipped("Node, rr", sides["Node, rr"])

    def rate(name, other, limit):
        return Row(f"connections/s, {name} : {other}", "/s", taken(name, "per_second"),
                   taken(other, "per_second"), limit, at_least=True)

    def share(name, other):
        return Row(f"furthest from its share, {name} : {other}", "%", missed[name], missed[other], 5,
                   of="umbel")

    own = [f"Node, {policy}" for policy in POLICIES]
    return [
        *(Row(f"whole CPU/connection, {name} : Node's rr", "us", taken(name, "us"),
              taken("Node's rr", "us")) for name in [*own, "Node's none"]),
        rate("Node, rr", "Node's rr", 1.35), rate("Node, spread", "Node's rr", 1.8),
        rate("Node, spread", "Node's none", 1),
        share("Node, rr", "Node's rr"), share("Node, spread", "Node's none"),
    ]


def ab(server, connections):
    """Exactly so many."""
    text = run(["ab", "-q", "-n", connections, "-c", 32, f"http://127.0.0.1:{server.port}/"], 120)
    if f"Complete requests:      {connections}\nFailed requests:        0\n" not in text:
        raise Failed(f"ab: not every request was answered:\n{text}")


def steering(plan):
    """What the primary uses while connections go past it, and in as much time without any."""
    seconds = 1.0

    def load(server, work):
        nonlocal seconds
        before, begin = cpu_ns(server.pid), time.monotonic()
        work()
        if work != idle:
            seconds = time.monotonic() - begin
        return max(0.01, (cpu_ns(server.pid) - before) / 1e6)  # it is a divisor

    def idle():
        time.sleep(seconds)

    rows = []
    for name, side in (("C workers", umbel_c), ("Node workers", umbel_node)):
        with Servers() as servers:
            server = side(servers, policy="spread")
            sides = {"busy": lambda s=server: load(s, lambda: ab(s, plan.steered)),
                     "idle": lambda s=server: load(s, idle)}
            rounds = alternate(sides, plan, key=float)
        rows.append(Row(f"the primary's CPU, {plan.steered:,} spread over {name} : none", "ms",
                        [r["busy"] for r in rounds], [r["idle"] for r in rounds], 20,
                        of="difference"))
    return rows


def syscalls_steered(plan):
    """Of the workers. Each wake-up takes one connection, however many wait: the figures are exact."""
    calls = {}
    with Servers() as servers:
        for name, server in (("a steered C worker", umbel_c(servers, policy="spread")),
                             ("the hand-written server", reuseport(servers))):
            closed_loop(server, plan.short, 32)  # its first connections are not like the others
            counts, loads = strace_counts(children(server.pid),
                                          lambda s=server: closed_loop(s, plan.short, 32))
            connections = loads[0].requests
            calls[name] = {call: n / connections for call, n in counts.items() if n * 100 >= connections}
            note(f"System calls for a connection, {name}: {breakdown(counts, connections)}.")
    ours, other = calls.values()
    return [Row("system calls/connection, steered C worker : hand-written", "", [sum(ours.values())],
                [sum(other.values())], 1.01),
            Row("kinds of them, of both : of hand-written", "", [len(ours | other)], [len(other)], 1)]


def slow(plan):
    """A closed loop of 32 clients. The policies have servers of their own: none has to learn anew."""
    with Servers() as servers:
        sides = {(kind, policy): lambda s=uneven(servers, kind, policy):
                 closed_loop(s, 2 * plan.short, clients=32)[0].p99_ms
                 for kind in ("C", "Node") for policy in ("rr", "least")}
        rounds = alternate(sides, plan, key=float)

    def row(kind, limit):
        rr, least = ([r[kind, policy] for r in rounds] for policy in ("rr", "least"))
        return Row(f"99th percentile, 1 of 4 slow, {kind}, least : rr", "ms", least, rr, limit)

    return [row("C", 1 / 10), row("Node", 1 / 3)]
