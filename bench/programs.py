"""Rows about programs that know nothing of umbel: what their filter costs; that they make no other system calls
than alone."""
import sys

from measure import BUILD, Row, Servers, alternate, breakdown, children, closed_loop, note, run, strace_counts
from sides import alone, intercepted


# These depend on how threads of a program meet, and on when strace came.
BY_CHANCE = ("futex", "restart_syscall")


def filter_cost(plan):
    """In turns, each in a process of its own: a filter stays."""
    sides = {side: lambda s=side: float(run([BUILD / "bench" / "getpid_loop", s, plan.getpid], 120))
             for side in ("filter", "none")}
    rounds = alternate(sides, plan, key=float)
    return [Row("CPU/getpid, filter of a program : none", "ns", *([r[side] for r in rounds] for side in sides),
                limit=50, of="difference")]


def accepting(server, depth):
    """The process that accepts, so many generations below."""
    pid = server.pid
    for _ in range(depth):
        (pid,) = children(pid)
    return pid


def syscalls_intercepted(plan):
    """One worker, one client: nothing depends on who was woken with whom."""
    rows = []
    with Servers() as servers:
        # What they are, and where the process that accepts is below what was started.
        programs = {"hand-written": ([BUILD / "bench" / "reuseport"], [1], 1, "listens"),
                    "http.server": ([sys.executable, "-u", "-m", "http.server"],
                                    ["--bind", "127.0.0.1", "--directory", servers.directory()], 0, "Serving")}
        for name, (program, args, depth, says) in programs.items():
            sides = {"as a worker": (intercepted(servers, program, args), depth + 1),
                     "alone": (alone(servers, program, args, says), depth)}
            calls = []
            for side, (server, below) in sides.items():
                closed_loop(server, plan.short, 1)  # its first connections are not like the others
                counts, loads = strace_counts([accepting(server, below)],
                                              lambda s=server: closed_loop(s, plan.short, 1))
                connections = loads[0].requests
                calls.append({call: n / connections for call, n in counts.items()
                              if n * 20 >= connections and call not in BY_CHANCE})
                note(f"System calls for a connection, {name} {side}: {breakdown(counts, connections)}.")
            ours, other = calls
            rows += [Row(f"system calls/connection, {name} as a worker : alone", "", [sum(ours.values())],
                         [sum(other.values())], 1.01),
                     Row(f"kinds of them, of both : of {name} alone", "", [len(ours | other)], [len(other)], 1)]
    return rows
