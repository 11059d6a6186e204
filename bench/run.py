#!/usr/bin/python3
"""bench/run.py [--quick] [--seconds S] [--markdown] [ROW...]: the figures, umbel beside the other.

  handoff-c      the primary's CPU for a connection: libumbel workers; Node's primary, a bare loop
  handoff-node   the same with Node workers, and connections per second
  syscalls       the primary's system calls for a connection
  burn           what a second worker adds when a request costs 10 ms of CPU
  tutorial       100 requests/s at a constant rate, 14 ms each: 1 worker and one for each CPU
  messages       CPU of both sides for a message, C to C and Node to Node
  policies-c     CPU of primary and workers for a connection, each policy with libumbel workers, nginx;
                 beside a hand-written SO_REUSEPORT server
  policies-node  the same with Node workers beside Node's cluster; connections per second; even shares
  steering       the primary's CPU with and without 20,000 connections that are steered past it
  syscalls-steered  system calls of a C worker for a steered connection; a hand-written server's
  filter         CPU of a getpid(2) with the filter of intercepted programs, and without
  syscalls-intercepted  system calls of programs that know nothing of umbel, as its worker and on their own
  slow           the 99th percentile with one of four workers ten times slower: least and rr
  crash          kill -9 of the only worker to the next answer: with a spare and without, beside the program's own
                 boot and PM2 in fork mode

  --seconds S    length of a slice (4; where there are many sides 2); a row has at least 5 slices of each side
  --quick        1 s, 2 slices, no warm-up: shows that all of it works, not how fast it is
  --markdown     the block for docs/PERFORMANCE.md

Exit status: 1 when a figure missed what is to be reached (not with --quick) or
could not be taken.
"""
import argparse
import dataclasses
import os
import platform
import signal
import sys
import time

import connections
import crash
import programs
from measure import (BENCH, BUILD, UMBEL, Failed, Row, Servers, alternate, breakdown, children, cpu_ns,
                     note, notes, run, strace_counts, wrk)
from sides import bare_loop, node, umbel_c, umbel_node


@dataclasses.dataclass
class Plan:
    seconds: int = 4  # of a slice
    short: float = 2  # where there are many sides
    pairs: int = 5
    warm: int = 6
    tutorial_seconds: int = 60
    messages: int = 200_000
    steered: int = 20_000
    getpid: int = 20_000_000
    crashes: int = 20
    crash_peers: bool = True


QUICK = Plan(seconds=1, short=0.1, pairs=2, warm=0, tutorial_seconds=2, messages=20_000, steered=1_000,
             getpid=1_000_000, crashes=2, crash_peers=False)


# ---- the rows ----


@dataclasses.dataclass
class Slice:
    us: float  # CPU of the primary for a connection
    per_second: float
    mean_ms: float = 0


def handoff_slice(server, plan):
    before = cpu_ns(server.pid)
    load = wrk(server, plan.seconds)
    used = cpu_ns(server.pid) - before
    return Slice(used / 1e3 / load.requests, load.per_second, load.mean_ms)


def measure_handoff(servers, plan):
    """Measures {name: server} in turns; returns {name: [Slice]}."""
    sides = {name: lambda s=s: handoff_slice(s, plan) for name, s in servers.items()}
    rounds = alternate(sides, plan, key=lambda s: s.us)
    return {name: [r[name] for r in rounds] for name in sides}


def of(slices, field):
    return [getattr(s, field) for s in slices]


def handoff_c(plan):
    with Servers() as servers:
        taken = measure_handoff({
            "umbel": umbel_c(servers), "node": node(servers),
            "bare": bare_loop(servers, 1), "bare8": bare_loop(servers, 8)}, plan)
    umbel = of(taken["umbel"], "us")
    return [
        Row("CPU/connection, C workers : Node's primary", "us", umbel, of(taken["node"], "us"),
            1 / 6),
        Row("CPU/connection, C workers : bare loop", "us", umbel, of(taken["bare"], "us"), 1.15),
        Row("CPU/connection, C workers : bare loop, 8 at once", "us", umbel,
            of(taken["bare8"], "us")),
    ]


def handoff_node(plan):
    with Servers() as servers:
        taken = measure_handoff({"umbel": umbel_node(servers), "node": node(servers)}, plan)
    umbel, other = taken["umbel"], taken["node"]
    return [
        Row("CPU/connection, Node workers : Node's primary", "us", of(umbel, "us"),
            of(other, "us"), 0.45),
        Row("connections/s, Node workers : Node's rr", "/s", of(umbel, "per_second"),
            of(other, "per_second"), 1.35, at_least=True),
    ]


def syscalls(plan):
    calls = {}
    with Servers() as servers:
        sides = {"C": umbel_c(servers), "Node": umbel_node(servers),
                 "Node's primary": node(servers)}
        for name, server in sides.items():
            wrk(server, 1)  # its first connections are not like the others
            counts, load = strace_counts([server.pid], lambda s=server: wrk(s, plan.seconds))
            calls[name] = sum(counts.values()) / load.requests
            what = name if "primary" in name else f"umbel, {name} workers"
            note(f"System calls for a connection, {what}: "
                 f"{breakdown(counts, load.requests)}.")
    other = [calls["Node's primary"]]
    return [Row(f"system calls/connection, {workers} workers : Node's primary", "",
                [calls[workers]], other, limit, of="umbel")
            for workers, limit in (("C", 2.5), ("Node", 6))]


def calibrate(ms):
    return run(["node", BENCH / "work.js", "calibrate", ms], 60).strip()


def busy_loops(count, amount, seconds):
    """How often so many processes together do the work in a second."""
    with Servers() as servers:
        loops = [servers.start("node", BENCH / "work.js", "loop", amount, seconds, ready=0)
                 for _ in range(count)]
        for loop in loops:
            loop.wait_for("done", 1, seconds + 30)
        return sum(int(loop.lines[0].split()[1]) for loop in loops) / seconds


def burn_slice(server, plan):
    load = wrk(server, plan.seconds, connections=16, threads=1)
    return Slice(0, load.per_second, load.mean_ms)


def burn(plan):
    amount = calibrate(10)
    with Servers() as servers:
        sides = {(kind.__name__, n): lambda s=kind(servers, n, amount): burn_slice(s, plan)
                 for kind in (umbel_node, node) for n in (1, 2)}
        for n in (1, 2):
            sides["busy", n] = lambda n=n: Slice(0, busy_loops(n, amount, plan.seconds))
        rounds = alternate(sides, plan, key=lambda s: s.per_second)

    def taken(side, field):
        return [getattr(r[side], field) for r in rounds]

    def gain(side):
        one, two = (taken((side, n), "per_second") for n in (1, 2))
        return [b / a for a, b in zip(one, two)]

    busy = gain("busy")
    return [
        Row("gain of a 2nd worker, 10 ms CPU : of a 2nd busy loop", "x", gain("umbel_node"), busy,
            0.9, at_least=True),
        Row("the same with Node's cluster : of a 2nd busy loop", "x", gain("node"), busy),
        Row("its mean response, 2 workers : 1 worker", "ms", taken(("umbel_node", 2), "mean_ms"),
            taken(("umbel_node", 1), "mean_ms"), 1),
    ]


TUTORIAL_RATE, TUTORIAL_MS, TUTORIAL_ROWS = 100, 14, 200


def tutorial_run(workers, amount, plan):
    """{what: figure} of one run at a constant rate."""
    with Servers() as servers:
        server = umbel_node(servers, workers, amount, TUTORIAL_ROWS)
        seconds = plan.tutorial_seconds
        text = run([BUILD / "bench" / "open_loop", server.port, TUTORIAL_RATE, seconds],
                   seconds + 60)
    return dict(zip(("sent", "answered", "mean", "p99", "bytes"), map(float, text.split())))


def tutorial(plan):
    amount, most = calibrate(TUTORIAL_MS), max(2, len(os.sched_getaffinity(0)))
    one, all_of_them = (tutorial_run(n, amount, plan) for n in (1, most))

    def row(what, unit, key):
        # Nobody answers nothing at all, but a ratio to 0 would end the program.
        return Row(f"tutorial: {what}, {most} workers : 1 worker", unit, [all_of_them[key]],
                   [max(one[key], 1e-9)])

    return [row(f"answered of {one['sent']:.0f}", "", "answered"),
            row("mean response", "ms", "mean"), row("99th percentile", "ms", "p99"),
            row("bytes/s", "B/s", "bytes")]


def messages_slice(server, plan, done):
    pids = [server.pid, *children(server.pid)]
    before = sum(map(cpu_ns, pids))
    done[server] = done.get(server, 0) + 1
    server.say(str(plan.messages))
    server.wait_for("done", done[server], 120)
    # There and back: each is two messages.
    return (sum(map(cpu_ns, pids)) - before) / 1e3 / (2 * plan.messages)


def messages(plan):
    done = {}
    with Servers() as servers:
        both = {"umbel": servers.start(BUILD / "bench" / "messages", ready=1),
                "node": servers.start("node", BENCH / "messages.js", ready=1)}
        sides = {name: lambda s=s: messages_slice(s, plan, done) for name, s in both.items()}
        rounds = alternate(sides, plan, key=float)
    return [Row("CPU/message, C to C : Node to Node", "us", [r["umbel"] for r in rounds],
                [r["node"] for r in rounds], 1 / 8)]


GROUPS = {"handoff-c": handoff_c, "handoff-node": handoff_node, "syscalls": syscalls, "burn": burn,
          "tutorial": tutorial, "messages": messages,
          "policies-c": connections.policies_c, "policies-node": connections.policies_node,
          "steering": connections.steering, "syscalls-steered": connections.syscalls_steered,
          "filter": programs.filter_cost, "syscalls-intercepted": programs.syscalls_intercepted,
          "slow": connections.slow, "crash": crash.crashes}


# ---- the table ----

HEAD = ["figure : other side", "umbel", "other", "ratio, median [spread]", "reach", ""]
WIDTHS = [60, 15, 15, 24, 11, 0]


def conditions(plan):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        models = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    umbel = run([UMBEL, "--version"], 10).split()[-1]
    return (f"umbel {umbel}, Node {run(['node', '--version'], 10).strip()[1:]}, "
            f"Linux {platform.release().partition('-')[0]}, {len(os.sched_getaffinity(0))} CPUs"
            f"{' (' + models[0] + ')' if models else ''}, "
            f"load {os.getloadavg()[0]:.1f} at the start, "
            f"{plan.pairs} pairs of {plan.seconds} s, {time.strftime('%Y-%m-%d')}")


def print_line(cells, markdown):
    if markdown:
        print("| " + " | ".join(cells) + " |", flush=True)
    else:
        print(" ".join(f"{c:<{w}}" for c, w in zip(cells, WIDTHS)).rstrip(), flush=True)


def print_group(name, plan, markdown):
    """Prints its rows; returns their verdicts."""
    try:
        rows = GROUPS[name](plan)
    except Failed as failure:
        print_line([name, "", "", "", "", "failed"], markdown)
        note(f"{name}: {failure}")
        return ["failed"]
    for row in rows:
        print_line(row.cells(), markdown)
    return [row.verdict() for row in rows]


def main():
    parser = argparse.ArgumentParser(usage=__doc__.rstrip())
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("rows", nargs="*")
    args = parser.parse_args()
    for name in args.rows:
        if name not in GROUPS:
            parser.error(f"no row {name}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the `with`: nothing is left

    plan = QUICK if args.quick else Plan()
    if args.seconds:
        plan = dataclasses.replace(plan, seconds=args.seconds, short=min(plan.short, args.seconds))
    print(conditions(plan) + "\n", flush=True)
    print_line(HEAD, args.markdown)
    if args.markdown:
        print("|---|--:|--:|--:|--:|---|")
    verdicts = [v for name in args.rows or GROUPS for v in print_group(name, plan, args.markdown)]
    print("".join(f"\n{note}\n" for note in notes), end="")
    return 1 if "failed" in verdicts or ("NOT" in verdicts and not args.quick) else 0


if __name__ == "__main__":
    sys.exit(main())
