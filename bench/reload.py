#!/usr/bin/python3
"""bench/reload.py [--quick] [--seconds S] [--markdown] [PEER...]: reloads into good and into broken
code under load, with umbel, pm2 and gunicorn, and how many requests each of them cost.

  --seconds S    how long the load goes on after the reload (5)
  --quick        umbel alone, good code and code that crashes at boot, in some ten seconds
  --markdown     the block for docs/PERFORMANCE.md

The load is a closed loop that counts for itself: a connection for each request, and each answer must
be whole. It knows the old version from the new by what they answer.

Exit status: 1 when umbel lost a request or did not do what it should: status 0 and the new version
where the code is good, status 4 in time, a reason and the old version where it is not. Also when a
line could not be taken.
"""
import argparse
import collections
import contextlib
import dataclasses
import json
import os
import platform
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from measure import BUILD, UMBEL, Failed, Servers, free_port, run

CLIENTS, PAUSE = 8, 0.02  # some 300 requests a second
WORK_MS = 5  # a request takes so long: some are always under way
READY_SECONDS = 3  # umbel's --ready-timeout here; PM2's listen_timeout is 3 s by default
COMMAND_SECONDS = 90  # a reload that takes longer hangs
UNDO_SECONDS = READY_SECONDS + 5  # an undone reload is over by then
NAME = "bench"
CACHE = BUILD / "bench-reload"
PM2_PACKAGE = "pm2@7"
PM2 = CACHE / "node_modules" / "pm2"


@dataclasses.dataclass
class Plan:
    workers: int = 4
    soak: str = "1s"  # umbel's default
    before: float = 1  # seconds of load before the reload
    after: float = 5
    timeout: float = 2  # a client gives up


# The test of a slow build on a busy machine: what is late there is not lost.
QUICK = Plan(workers=2, soak="200ms", after=1.5, timeout=10)


# ---- the program, in all its states ----


# The handler of SIGINT is what PM2 asks of a program; umbel needs none.
NODE = """'use strict';
%(first)s
const server = require('http').createServer((request, response) => {
	setTimeout(() => response.end(`%(version)s ${process.pid}\\n`), %(ms)d);
});
server.listen(Number(process.argv[2]), '127.0.0.1');
process.on('SIGINT', () => server.close(() => process.exit(0)));
"""

WSGI = """import os, sys, threading, time
%(first)s
def application(environ, start_response):
    time.sleep(%(ms)d / 1000)
    body = b"%(version)s %%d\\n" %% os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

# What the new code does first: {row: (Node, Python)}.
ROWS = {
    "good code": ("", ""),
    "does not parse": ("}", ")"),
    "crashes at boot": ("throw new Error('boot');", "raise RuntimeError('boot')"),
    "crashes 0.5 s after start": ("setTimeout(() => { throw new Error('late'); }, 500);",
                                  "threading.Timer(0.5, os._exit, [1]).start()"),
    "never becomes ready": ("setInterval(() => {}, 1e6); return;", "time.sleep(1e6)"),
    "exits with 0 without listening": ("process.exit(0);", "sys.exit(0)"),
}


def put(folder, version, firsts=("", "")):
    """Both programs into the folder, each in one step: a start in between finds one or the other."""
    for name, text, first in (("app.js", NODE, firsts[0]), ("app.py", WSGI, firsts[1])):
        new = folder / f"{name}.new"
        new.write_text(text % {"first": first, "version": version, "ms": WORK_MS})
        os.replace(new, folder / name)


# ---- the peers: `with` starts the program and gives the function that reloads it ----

Reload = collections.namedtuple("Reload", "status said")  # None: no command, so nothing to tell


def command(argv, **environment):
    """Its status and the last line that says something; indented is what a worker had said."""
    try:
        done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=os.environ | environment, timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        return Reload("hangs", f"(not over after {COMMAND_SECONDS} s)")
    lines = re.findall(r"^\S.*", re.sub(r"\x1b\[[0-9;]*m", "", done.stdout), re.M)
    return Reload(done.returncode, lines[-1] if lines else "")


@contextlib.contextmanager
def umbel(folder, port, plan):
    with Servers() as servers:
        server = servers.start(
            UMBEL, "run", "--name", NAME, "-n", plan.workers, "--soak", plan.soak, "--grace", "5s",
            "--ready-timeout", f"{READY_SECONDS}s", "--", "node", folder / "app.js", port,
            ready=plan.workers)
        yield lambda: command([UMBEL, "reload", NAME], UMBEL_HOME=server.home.name)


@contextlib.contextmanager
def pm2(folder, port, plan):
    program = PM2 / "bin" / "pm2"
    home = folder / "pm2"
    # Without the last one its daemon asks the network whether there is a newer one.
    environment = {"PM2_HOME": str(home), "PM2_DISABLE_VERSION_CHECK": "true"}
    try:
        started = command([program, "start", folder / "app.js", "-i", plan.workers, "--name", NAME,
                           "--", port], **environment)
        if started.status:
            raise Failed(f"pm2 start: status {started.status}: {started.said}")
        yield lambda: command([program, "reload", NAME], **environment)
    finally:
        end_pm2(program, home, environment)


def end_pm2(program, home, environment):
    """Its daemon is nobody's child; the workers go with it."""
    try:
        daemon = os.pidfd_open(int((home / "pm2.pid").read_text()))
    except (OSError, ValueError):
        return
    try:
        command([program, "kill"], **environment)
        if not select.select([daemon], [], [], 10)[0]:
            signal.pidfd_send_signal(daemon, signal.SIGKILL)
            select.select([daemon], [], [], 10)
    finally:
        os.close(daemon)


@contextlib.contextmanager
def gunicorn(folder, port, plan):
    with Servers() as servers:
        # No .pyc: of two versions in one second it would be the wrong one. A worker that hangs is
        # waited for when the server stops, half a minute by default.
        server = servers.start(
            "env", "PYTHONDONTWRITEBYTECODE=1", "gunicorn", "--chdir", folder, "-w", plan.workers,
            "-b", f"127.0.0.1:{port}", "--graceful-timeout", READY_SECONDS, "app:application",
            ready=0)

        def reload():
            server.process.send_signal(signal.SIGHUP)
            return Reload(None, None)

        yield reload


def install_pm2():
    if not PM2.exists():
        if not shutil.which("npm"):
            raise Failed("npm is not here")
        CACHE.mkdir(parents=True, exist_ok=True)
        run(["npm", "install", "--prefix", CACHE, "--no-save", "--no-audit", "--no-fund",
             "--loglevel=error", PM2_PACKAGE], 300)


def pm2_version():
    install_pm2()
    # Not `pm2 --version`: that starts a daemon.
    return json.loads((PM2 / "package.json").read_text())["version"]


def gunicorn_version():
    return run(["gunicorn", "--version"], 30).split()[-1].rstrip(")")


PEERS = {"umbel": umbel, "pm2": pm2, "gunicorn": gunicorn}
VERSIONS = {"umbel": lambda: run([UMBEL, "--version"], 30).split()[-1], "pm2": pm2_version,
            "gunicorn": gunicorn_version}
LABELS = {"umbel": "umbel", "pm2": "PM2", "gunicorn": "gunicorn"}


# ---- the load ----

GET = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
Request = collections.namedtuple("Request", "begun failure version pid")


def read_all(connection):
    text = b""
    while part := connection.recv(65536):
        text += part
    return text


def ask(port, timeout):
    """(how it failed or None, version, pid)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(GET)
            text = read_all(connection)
    except ConnectionRefusedError:
        return "refused", None, None
    except (ConnectionResetError, BrokenPipeError):
        return "reset", None, None
    except TimeoutError:
        return "timed out", None, None
    except OSError as error:
        return error.strerror, None, None
    head, _, body = text.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    if not length or len(body) != int(length[1]):
        return "cut short", None, None
    if not head.startswith(b"HTTP/1.1 200"):
        return head[9:12].decode(errors="replace"), None, None
    return None, *body.decode().split()


class Load:
    """Clients that ask, pause and ask again, from `with` to its end."""

    def __init__(self, port, timeout):
        self.port, self.timeout = port, timeout
        self.requests, self.changed = [], threading.Condition()
        self.over = threading.Event()
        self.clients = [threading.Thread(target=self._client, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for client in self.clients:
            client.join()

    def _client(self):
        while not self.over.is_set():
            request = Request(time.monotonic(), *ask(self.port, self.timeout))
            with self.changed:
                self.requests.append(request)
                self.changed.notify_all()
            self.over.wait(PAUSE)

    def wait_for_workers(self, count, seconds):
        def all_answered():
            return len({r.pid for r in self.requests if r.pid}) >= count

        with self.changed:
            if not self.changed.wait_for(all_answered, seconds):
                raise Failed(f"no answer from {count} workers within {seconds} s")

    def since(self, begun):
        return [r for r in self.requests if r.begun >= begun]


# ---- a line of the table ----


@dataclasses.dataclass
class Line:
    code: str
    peer: str
    requests: int = 0
    failures: collections.Counter = None
    reload: Reload = None
    seconds: float = 0
    answers: str = ""  # who does when all is over

    def failed(self):
        return sum(self.failures.values())

    def is_right(self):
        """What is asked of umbel."""
        good = self.code == "good code"
        if self.requests == 0 or self.failed():
            return False
        if good:
            return self.reload.status == 0 and self.answers == "new"
        return (self.reload.status == 4 and self.answers == "old" and self.seconds <= UNDO_SECONDS
                and "undone: " in self.reload.said)

    def verdict(self):
        return "" if self.peer != "umbel" else "ok" if self.is_right() else "NOT"

    def cells(self):
        has_command = self.reload.status is not None
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.failures.most_common())
        return [self.code, LABELS[self.peer], f"{self.requests:,}", f"{self.failed():,}",
                str(self.reload.status) if has_command else "-",
                f"{self.seconds:.1f}" if has_command else "-", self.answers, self.verdict(), kinds]


def who_answers(requests):
    versions = sorted({r.version for r in requests if r.version}, reverse=True)
    lost = sum(r.failure is not None for r in requests)
    if not versions:
        return "nobody"
    return " and ".join(versions) + (f", {lost / len(requests):.0%} fail" if lost else "")


def measure(code, peer, plan):
    port, line = free_port(), Line(code, peer)
    with tempfile.TemporaryDirectory(prefix="umbel-bench-") as name:
        folder = Path(name)
        put(folder, "old")
        # The load ends before the server does: what is under way then still counts.
        with PEERS[peer](folder, port, plan) as reload, Load(port, plan.timeout) as load:
            load.wait_for_workers(plan.workers, 30)
            begun = time.monotonic()
            time.sleep(plan.before)
            put(folder, "new", ROWS[code])
            asked = time.monotonic()
            line.reload = reload()
            line.seconds = time.monotonic() - asked
            time.sleep(plan.after)
            last = time.monotonic() - min(2, plan.after)
    taken = load.since(begun)
    line.requests = len(taken)
    line.failures = collections.Counter(r.failure for r in taken if r.failure)
    line.answers = who_answers(load.since(last))
    return line


# ---- the table ----

HEAD = ["new code", "", "requests", "failed", "status", "seconds", "who answers then", "", "how"]
WIDTHS = [31, 9, 9, 7, 7, 8, 19, 7, 0]
MARKDOWN = "|---|---|--:|--:|--:|--:|---|---|---|"
notes = []  # what does not fit into a table


def print_line(cells, markdown):
    if markdown:
        print("| " + " | ".join(cells) + " |", flush=True)
    else:
        print(" ".join(f"{c:<{w}}" for c, w in zip(cells, WIDTHS)).rstrip(), flush=True)


def conditions(peers, plan):
    """Who takes part in which version, and how. Takes out of peers who is not here."""
    versions = []
    for peer in list(peers):
        try:
            versions.append(f"{LABELS[peer]} {VERSIONS[peer]()}")
        except Failed as failure:
            peers.remove(peer)
            notes.append(f"{LABELS[peer]} is not in the table: {failure}")
    return (f"{', '.join(versions)}, Node {run(['node', '--version'], 30).strip()[1:]}, "
            f"Linux {platform.release().partition('-')[0]}, {len(os.sched_getaffinity(0))} CPUs, "
            f"load {os.getloadavg()[0]:.1f} at the start, {time.strftime('%Y-%m-%d')}\n"
            f"{plan.workers} workers, {CLIENTS} clients, a connection for each request; a client "
            f"gives up after {plan.timeout:g} s; the load ends {plan.after:g} s after the reload")


def print_peer(code, peer, plan, markdown):
    """Prints its line; returns the verdict."""
    try:
        line = measure(code, peer, plan)
    except Failed as failure:
        print_line([code, LABELS[peer]] + [""] * 5 + ["failed", ""], markdown)
        notes.append(f"{code}, {LABELS[peer]}: {failure}")
        return "failed"
    print_line(line.cells(), markdown)
    if line.reload.said:
        notes.append(f"{code}, {LABELS[peer]} said last: {line.reload.said}")
    return line.verdict()


def main():
    parser = argparse.ArgumentParser(usage=__doc__.rstrip())
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("peers", nargs="*")
    args = parser.parse_args()
    for name in args.peers:
        if name not in PEERS:
            parser.error(f"no peer {name}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the `with`: nothing is left

    plan = QUICK if args.quick else Plan()
    if args.seconds:
        plan = dataclasses.replace(plan, after=args.seconds)
    peers = args.peers or (["umbel"] if args.quick else list(PEERS))
    codes = ["good code", "crashes at boot"] if args.quick else list(ROWS)
    wanted = len(peers)
    print(conditions(peers, plan) + "\n", flush=True)
    print_line(HEAD, args.markdown)
    if args.markdown:
        print(MARKDOWN)
    verdicts = [print_peer(code, peer, plan, args.markdown) for code in codes for peer in peers]
    print("".join(f"\n{note}\n" for note in notes), end="")
    return 1 if {"failed", "NOT"} & set(verdicts) or len(peers) < wanted else 0


if __name__ == "__main__":
    sys.exit(main())
