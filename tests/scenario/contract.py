"""The contract tests: the same scenario under Node's own primary (tests/contract/driver.js) and under
ours (tests/contract/driver/). What the drivers understand and say is told in the first of them."""
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from harness import BUILD, REPORT, ROOT, SANITIZER, SLOW, is_sanitized, processes, wait_until

WORKERS = ROOT / "tests" / "contract"
NODE = os.environ.get("UMBEL_TEST_NODE", "node")
DRIVERS = {"node": [NODE, str(WORKERS / "driver.js")],
           "umbel": [str(BUILD / "tests" / "programs" / "driver")]}
VERSION = tuple(map(int, subprocess.run([NODE, "-p", "process.versions.node"], check=True, text=True,
                                        capture_output=True).stdout.split(".")))

# Node's own primary has nothing of ours to sanitize: what it does was seen beside the plain build.
KINDS = ["umbel"] if is_sanitized() else list(DRIVERS)

# Not in a transcript: answers of the driver, and what is sorted.
UNTOLD = {"show", "hand", "give", "pipe", "disconnect", "exit"}


class Worker:
    """One worker as its primary sees it. next() takes its events of one name in their order."""

    def __init__(self, primary, number):
        self.primary, self.id = primary, number
        self.taken = {}  # name: how many of them next() has returned

    def next(self, name, timeout=10):
        """What follows the id in the next event of that name: one value, or a list of them."""
        count = self.taken.get(name, 0)
        found = self.primary.wait(
            lambda events: [e for e in events if e[:2] == [name, self.id]][count:],
            f"{name} of worker {self.id}", timeout)
        self.taken[name] = count + 1
        values = found[0][2:]
        return values[0] if len(values) == 1 else values

    def message(self, timeout=10):
        return self.next("message", timeout)[0]

    def has(self, name):
        return any(e[:2] == [name, self.id] for e in self.primary.events())

    def send(self, message):
        self.primary.command("send", self.id, message)

    def ask(self, message, timeout=10):
        self.send(message)
        return self.message(timeout)

    def hand(self, message, port=0):
        """The port whose next connection goes to the worker."""
        self.primary.command("hand", self.id, port, message)
        return self.next("hand")

    def give(self, kind, message):
        """The port of a socket (server or udp) that goes to the worker."""
        self.primary.command("give", self.id, kind, message)
        return self.next("give")

    def pipe(self, index, text):
        self.primary.command("pipe", self.id, index, text)

    def piped(self, index):
        """All that came through the pipe up to now."""
        return "".join(e[3] for e in self.primary.events() if e[:3] == ["pipe", self.id, index])

    def disconnect(self):
        self.primary.command("disconnect", self.id)

    def kill(self, name="SIGTERM"):
        self.primary.command("kill", self.id, name)

    def show(self):
        self.primary.command("show", self.id)
        return self.next("show")

    def wait_gone(self, timeout=15):
        """(code, signal, asked) of its exit, once disconnect was told too: the order is not promised."""
        self.next("disconnect", timeout)
        return tuple(self.next("exit", timeout))

    def transcript(self):
        """Its events; disconnect before exit, because their order is not promised."""
        events = [[e[0], *e[2:]] for e in self.primary.events() if e[1:2] == [self.id]]
        ends = [e for e in events if e[0] in ("disconnect", "exit")]
        others = [e for e in events if e[0] not in UNTOLD]
        return others + sorted(ends, key=lambda e: e[0])


class Primary:
    """A driver. kind: node (Node's own primary) or umbel (ours)."""

    def __init__(self, kind, environment, token, cwd, before=(), pass_fds=()):
        self.kind, self.cwd, self.token = kind, Path(cwd), token
        self.workers, self.lines = {}, []
        self.status = 0  # how the driver is to end
        self.changed = threading.Condition()
        self.process = subprocess.Popen([*before, *DRIVERS[kind]], env=environment, cwd=cwd, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, pass_fds=pass_fds)
        self.readers = [threading.Thread(target=self._read, args=(stream, name), daemon=True)
                        for stream, name in ((self.process.stdout, "stdout"),
                                             (self.process.stderr, "stderr"))]
        for reader in self.readers:
            reader.start()

    def _read(self, stream, name):
        for line in stream:
            with self.changed:
                self.lines.append((name, line.rstrip("\n")))
                self.changed.notify_all()

    # ---- commands ----

    def command(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def setup(self, program, *args, **settings):
        """program: one of tests/contract, or a path."""
        self.command("setup", {"exec": str(WORKERS / program), "args": [str(a) for a in args],
                               **settings})

    def fork(self, **env):
        """The worker, once it was forked."""
        worker = Worker(self, len(self.workers) + 1)
        self.workers[worker.id] = worker
        self.command("fork", env)
        worker.next("fork")
        return worker

    def start(self, program, *args, count=1, **settings):
        """setup() and so many fork()s: the workers."""
        self.setup(program, *args, **settings)
        return [self.fork() for _ in range(count)]

    def disconnect(self):
        self.command("disconnect")

    def wait_disconnected(self, count=1, timeout=15):
        self.wait(lambda events: events.count(["disconnected"]) >= count, "disconnected", timeout)

    def listed(self):
        count = len([e for e in self.events() if e[0] == "workers"])
        self.command("workers")
        return self.wait(lambda events: [e for e in events if e[0] == "workers"][count:],
                         "the list of workers")[0][1]

    def children(self):
        """Pids of its processes."""
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    # ---- events ----

    def output(self, name):
        with self.changed:
            return [text for stream, text in self.lines if stream == name]

    def events(self):
        """All lines of stdout that are JSON arrays: silence is the workers' business."""
        return [json.loads(text) for text in self.output("stdout") if text.startswith("[")]

    def wait(self, condition, what, timeout=10):
        """What condition makes of the events, once it is true."""
        end = time.monotonic() + timeout * SLOW
        with self.changed:
            while not (value := condition(self.events())):
                assert time.monotonic() < end, (f"{self.kind}: waited {timeout * SLOW} s for {what}, "
                                                f"have {self.events()}")
                assert self.process.poll() is None, f"{self.kind}: ended before {what}"
                self.changed.wait(0.2)
        return value

    # ---- the end ----

    def end_workers(self):
        """Asks all that live to leave, and waits for it."""
        live = [w for w in self.workers.values() if not w.has("exit")]
        if live:
            self.disconnect()
        for worker in live:
            if not worker.has("disconnect"):
                worker.next("disconnect", 15)
            worker.next("exit", 15)

    def close(self):
        """Quits: the workers are killed, and nothing may be left."""
        try:
            if self.process.poll() is None:
                self.process.stdin.close()
            status = self.process.wait(15 * SLOW)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            for reader in self.readers:
                reader.join(5)
            print(f"--- {self.kind}: {self.process.returncode}")
            print("\n".join(f"{name}: {text[:300]}" for name, text in self.lines))
        assert not any(SANITIZER.search(text) for text in self.output("stderr")), "see stderr"
        assert status == self.status, f"the {self.kind} driver ended with {status}"
        for report in filter(None, map(REPORT.match, self.output("stdout"))):
            assert report[1] == report[2], report[0]


@pytest.fixture
def start_primary(environment, token, tmp_path):
    """start_primary(kind, below="DIRECTORY", before=[WORDS of a command], pass_fds=[...]): a primary in a
    directory of its own, ended after the test."""
    primaries = []

    def start(kind, below="", **options):
        cwd = tmp_path / f"{kind}{len(primaries)}" / below
        cwd.mkdir(parents=True)
        primaries.append(Primary(kind, environment | {"UMBEL_TEST": token}, token, cwd, **options))
        return primaries[-1]

    yield start
    failures = []
    for primary in primaries:
        try:
            primary.close()
        except Exception as failure:  # the others are to be ended too
            failures.append(failure)
    try:
        wait_until(lambda: not processes(token), "all processes to end")
    except AssertionError:
        for pid in processes(token):
            os.kill(pid, signal.SIGKILL)
        raise
    if failures:
        raise failures[0]


@pytest.fixture(params=KINDS)
def primary(request, start_primary):
    """One after the other: for what is asserted of each."""
    return start_primary(request.param)


def plain(value, ports, cwd):
    """The same for each run: ports by their order, paths without the run's directory. A port without an
    address is any address, and an abstract name has no directory: that is what ours says of them."""
    if isinstance(value, dict):
        value = {k: plain(v, ports, cwd) for k, v in value.items()}
        if value.get("addressType") == 4 and value.get("address") is None:
            value |= {"addressType": 6, "address": "::"}
        return value
    if isinstance(value, list):
        return [plain(v, ports, cwd) for v in value]
    if isinstance(value, str):
        return value.replace(f"{cwd}/\0", "@").replace(str(cwd), "CWD")
    if isinstance(value, int) and not isinstance(value, bool) and value in ports:
        return f"port {ports.index(value)}"
    return value


def ports_in(value, key=None):
    """What is called port in it, in order."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in ports_in(v, k)]
    if isinstance(value, list):
        return [p for v in value for p in ports_in(v)]
    return [value] if key == "port" and isinstance(value, int) and value > 0 else []


@pytest.fixture
def both(start_primary):
    """both(scenario): runs scenario(primary) under each of KINDS, lets the workers leave, and compares what it
    returned and what each worker's transcript is, but for events of these names. Returns them."""
    def run(scenario, but=(), **options):
        seen = {}
        for kind in KINDS:
            primary = start_primary(kind, **options)
            result = scenario(primary)
            primary.end_workers()
            told = {"result": result}
            for worker in primary.workers.values():
                told[f"worker {worker.id}"] = [e for e in worker.transcript() if e[0] not in but]
            told = json.loads(json.dumps(told))
            ports = list(dict.fromkeys(ports_in(list(told.values()))))
            seen[kind] = plain(told, ports, primary.cwd)
        for told in seen.values():
            assert seen["umbel"] == told
        return seen["umbel"]

    return run


def workers(primary, count=1, **settings):
    """So many workers that do what they are told (tests/contract/listen.js)."""
    started = primary.start("listen.js", count=count, **settings)
    for worker in started:
        assert worker.message() == "hello"
    return started
