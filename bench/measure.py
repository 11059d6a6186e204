"""How a figure is taken: processes and their CPU time, the load, slices in pairs, and what may be
said of them. Knows no row; those are in run.py."""
import collections
import concurrent.futures
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
BUILD = BENCH.parent / os.environ.get("UMBEL_BUILD", "build")
UMBEL = BUILD / "umbel"
AGREE = 0.05  # two slices that differ by less: the side is warm
START_SECONDS = 30
notes = []  # what does not fit into a table


class Failed(Exception):
    """A row could not be measured; the text says why."""


def note(text):
    notes.append(text)


# ---- processes ----


def free_port():
    """A port nobody has, below the range from which the kernel gives clients theirs."""
    while True:
        port = random.SystemRandom().randrange(10000, 30000)
        try:
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
            return port
        except OSError:
            pass


def cpu_ns(pid):
    """What all threads of a process have used: Node's primary has several."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def tree(pid):
    """A process and all that come from it."""
    return [pid, *(p for child in children(pid) for p in tree(child))]


class Server:
    """A side of a comparison: a primary, ready when it has printed so many lines with what it says."""

    def __init__(self, argv, ready, says):
        self.argv, self.lines, self.changed = argv, [], threading.Condition()
        self.home = tempfile.TemporaryDirectory(prefix="umbel-bench-")
        # pdeathsig: nothing outlives the benchmark, however it ends.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *map(str, argv)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"UMBEL_HOME": self.home.name})
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            self.wait_for(says, ready, START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip())
                self.changed.notify_all()
        with self.changed:
            self.lines.append("(the end of its output)")
            self.changed.notify_all()

    def wait_for(self, text, count, seconds):
        """Until count lines have said it since the start."""
        def over():
            return (sum(text in line for line in self.lines) >= count
                    or self.lines and self.lines[-1] == "(the end of its output)")

        with self.changed:
            self.changed.wait_for(over, seconds)
            if sum(text in line for line in self.lines) < count:
                raise Failed(f"no {count} x '{text}' from {self.tail()}")

    def tail(self):
        """What it is and what it said last, for a failure."""
        return "\n    ".join([" ".join(map(str, self.argv)), *self.lines[-5:]])

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()  # workers die with their primary
            self.process.wait()
        self.reader.join(5)
        self.home.cleanup()


class Servers:
    """`with Servers() as s:` ends whatever was started in it."""

    def __enter__(self):
        self.all, self.directories = [], []
        return self

    def __exit__(self, *_):
        for server in reversed(self.all):
            server.stop()
        for directory in self.directories:
            directory.cleanup()

    def directory(self):
        """An empty one, until the servers have ended."""
        self.directories.append(tempfile.TemporaryDirectory(prefix="umbel-bench-"))
        return Path(self.directories[-1].name)

    def start(self, *argv, ready=2, says="listens", port=None):
        server = Server(argv, ready, says)
        server.port = port
        self.all.append(server)
        return server


# ---- load ----

Load = collections.namedtuple("Load", "requests per_second mean_ms")
Closed = collections.namedtuple("Closed", "requests failed seconds mean_ms p99_ms")
UNITS = {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}


def wrk(server, seconds, connections=128, threads=2):
    """A connection for each request; every one that is answered counts."""
    command = ["wrk", f"-c{connections}", f"-t{threads}", f"-d{seconds}", "--timeout", "10s",
               "-H", "Connection: close", f"http://127.0.0.1:{server.port}/"]
    try:
        text = run(command, seconds + 30)
    except Failed as failure:
        raise Failed(f"{failure}\n{server.tail()}") from failure
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", text)
    mean = re.search(r"Latency\s+([\d.]+)(us|ms|s|m)\b", text)
    if not done or not mean or int(done[1]) == 0:
        raise Failed(f"wrk had no answers:\n{text}")
    requests, took = int(done[1]), float(done[2]) * UNITS[done[3]] / 1e3
    return Load(requests, requests / took, float(mean[1]) * UNITS[mean[2]])


def closed_loop(server, seconds, clients, addresses=0, processes=1):
    """The same by clients of our own (closed_loop.c), each with its 99th percentile: its lines as
    [Closed]. A request that fails is a failed row."""
    command = [BUILD / "bench" / "closed_loop", server.port, clients // processes, seconds, addresses]
    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        texts = list(pool.map(lambda _: run(command, seconds + 60), range(processes)))
    loads = [Closed(*map(float, text.split())) for text in texts]
    if any(load.failed or not load.requests for load in loads):
        raise Failed(f"requests failed: {loads}\n{server.tail()}")
    return loads


def run(command, seconds):
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(str(error)) from error
    if done.returncode:
        raise Failed(f"{command[0]}: status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


# ---- slices ----


def agree(a, b):
    return abs(a - b) <= AGREE * max(a, b)


def alternate(sides, plan, key):
    """[{side: measured}] of plan.pairs rounds; sides: {name: function that measures one slice}.
    First each side is run until two slices agree in key(measured), at most plan.warm times."""
    for name, slice_of in sides.items():
        before = None
        for _ in range(plan.warm):
            now = key(slice_of())
            if before is not None and agree(before, now):
                break
            before = now
    rounds = []
    for number in range(plan.pairs):
        # Forwards, backwards: a machine that gets slower all the time harms both sides alike.
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        rounds.append({name: sides[name]() for name in order})
    return rounds


def largest_step(values):
    """How far two neighbouring runs of the same side are apart at most."""
    return max((abs(b / a - 1) for a, b in zip(values, values[1:])), default=0)


class Row:
    """umbel's and the other's figures in pairs. The limit is on their ratio, on umbel's own figure
    (of="umbel"), or on umbel's less the other's (of="difference"); None: for comparison only."""

    def __init__(self, name, unit, umbel, other, limit=None, at_least=False, of="ratio"):
        self.name, self.unit, self.umbel, self.other = name, unit, umbel, other
        self.limit, self.at_least, self.of = limit, at_least, of
        self.ratios = [a / b for a, b in zip(umbel, other)]

    def meets(self, value):
        return value >= self.limit if self.at_least else value <= self.limit

    def verdict(self):
        if self.limit is None:
            return ""
        if self.of == "umbel":
            return "ok" if self.meets(statistics.median(self.umbel)) else "NOT"
        if self.of == "difference":
            difference = statistics.median(a - b for a, b in zip(self.umbel, self.other))
            return "ok" if self.meets(difference) else "NOT"
        if self.limit == 1:  # better at all: in each pair
            good = sum(self.meets(r) for r in self.ratios)
            return "ok" if good == len(self.ratios) else "NOT" if good == 0 else "noise"
        noise = max(largest_step(self.umbel), largest_step(self.other))
        if abs(self.limit - 1) < 2 * noise:
            return f"noise ({noise:.0%})"
        return "ok" if self.meets(statistics.median(self.ratios)) else "NOT"

    def reach(self):
        if self.limit is None:
            return ""
        sign = ">=" if self.at_least else "<="
        if self.of == "umbel":
            return f"{sign} {self.limit:g} {self.unit}".rstrip()
        if self.of == "difference":
            return f"{sign} {self.limit:+g} {self.unit}"
        return f"{sign} {self.limit:.3g}x"

    def cells(self):
        low, high = min(self.ratios), max(self.ratios)
        spread = f" [{low:.3f}..{high:.3f}]" if len(self.ratios) > 1 else ""
        return [self.name, number(statistics.median(self.umbel), self.unit),
                number(statistics.median(self.other), self.unit),
                f"{statistics.median(self.ratios):.3f}{spread}", self.reach(), self.verdict()]


def number(value, unit):
    digits = 0 if value >= 1000 else 1 if value >= 100 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


# ---- system calls ----


def strace_counts(pids, load):
    """{call: how often} of those threads alone while load() runs, and what load() returned."""
    if not shutil.which("strace"):
        raise Failed("strace is not here")
    with tempfile.NamedTemporaryFile(mode="r", suffix=".strace") as out:
        tracer = subprocess.Popen(
            ["strace", "-c", "-U", "name,calls", "-o", out.name, *(f"-p{pid}" for pid in pids)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            for _ in pids:
                said = tracer.stderr.readline()
                if "attached" not in said:
                    raise Failed(f"strace: {said.strip()}")
            result = load()
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)
            tracer.stderr.close()
        counts = dict(re.findall(r"^(\w+)\s+(\d+)$", out.read(), re.M))
    counts.pop("total", None)
    return {name: int(n) for name, n in counts.items()}, result


def breakdown(counts, connections):
    """The calls that matter, most frequent first, per connection."""
    per = sorted(((n / connections, name) for name, n in counts.items()), reverse=True)
    return ", ".join(f"{name} {n:.2f}" for n, name in per if n >= 0.01)
