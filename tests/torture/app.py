"""`umbel run` of one program, for the torture runs: start it, ask it, give it orders, and look at its
processes from outside. What goes on between is the harness's (tests/scenario)."""
import json
import os
import random
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scenario"))

import control  # noqa: E402
from harness import BUILD, PROGRAMS, SLOW, UMBEL, Run, processes, stat, wait_until  # noqa: E402

TESTS = BUILD / "tests" / "programs"
KINDS = {"node": ["node", PROGRAMS / "keepalive.js"], "c": [TESTS / "keepalive"]}
NAME = "torture"

# Low, so that a reload takes no longer than it must. A program has to boot beside a saturating load.
OPTIONS = ["--soak", "100ms", "--ready-timeout", f"{10 * SLOW}s"]


class Skip(Exception):
    """This machine cannot do it; the text says why."""


def free_port():
    """Below the range from which the kernel gives clients theirs."""
    while True:
        port = random.SystemRandom().randrange(10000, 30000)
        try:
            with socket.socket(socket.AF_INET6) as s:
                s.bind(("::", port))
            return port
        except OSError:
            pass


def processes_below(pid):
    """{pid: (parent, state)} of all its descendants; the state Z is a zombie."""
    everybody = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent = stat(entry)[:2]
        except OSError:  # it ended meanwhile
            continue
        everybody.setdefault(int(parent), {})[int(entry)] = state
    found, parents = {}, [pid]
    for parent in parents:
        for child, state in everybody.get(parent, {}).items():
            found[child] = (parent, state)
            parents.append(child)
    return found


def children(pid):
    """{pid: state} of the processes whose parent it is."""
    return {child: state for child, (parent, state) in processes_below(pid).items() if parent == pid}


class App:
    """`with App("node") as app:` has its workers ready. kind: one of KINDS, or the words of a command;
    the port is added to it, then args. {port} in options is the port."""

    def __init__(self, kind, *args, workers=4, options=OPTIONS, before=()):
        self.kind, self.args, self.workers = kind, args, workers
        self.options, self.before = options, before

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="umbel-torture-")
        self.home, self.logs = Path(self.directory.name, "home"), Path(self.directory.name, "logs")
        self.home.mkdir(mode=0o700)
        self.logs.mkdir()
        self.port, token = free_port(), secrets.token_hex(8)
        self.env = {**os.environ, "UMBEL_HOME": str(self.home), "UMBEL_TEST": token,
                    "UMBEL_DEBUG_FDS": "1"}
        command = KINDS[self.kind] if isinstance(self.kind, str) else self.kind
        words = [*self.before, UMBEL, "run", "-n", self.workers, "--name", NAME,
                 "--env", f"UMBEL_TEST={token}", "--env", f"TORTURE_LOG={self.logs}",
                 *(str(word).replace("{port}", str(self.port)) for word in self.options), "--",
                 *command, self.port, *self.args]
        self.run = Run([str(word) for word in words], self.env, self.home, token)
        try:
            self.run.wait_listening(self.workers)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, error, trace):
        """Ends it. Unless something is wrong already: nothing left behind, exit status 0."""
        try:
            if kind:
                self._show_end()
            elif self.run.process.poll() is None:
                assert self.stop() == 0, f"umbel run ended with {self.run.process.returncode}"
        finally:
            if self.run.process.poll() is None:
                self.run.process.kill()  # its workers die with it
            self.run.wait()
            left = processes(self.run.token)
            if left and kind:
                wait_until(lambda: not processes(self.run.token), "its workers to end")
            for pid in processes(self.run.token):
                os.kill(pid, signal.SIGKILL)
            if not kind:
                assert not left, f"processes are left: {left}"
                self.run.check()
            self.directory.cleanup()

    def _show_end(self):
        print("    the last lines of umbel run:", file=sys.stderr)
        for text in self.run.output()[-30:]:
            print(f"    | {text[:200]}", file=sys.stderr)

    def stop(self, timeout=40):
        return self.run.stop(timeout=timeout)

    @property
    def pid(self):
        return self.run.pid

    # ---- orders ----

    def command(self, *words):
        return [str(word) for word in (UMBEL, *words)]

    def umbel(self, *words, timeout=60):
        return subprocess.run(self.command(*words), env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout * SLOW)

    def start(self, *words):
        """The same without waiting for it."""
        return subprocess.Popen(self.command(*words), env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def reload(self, timeout=60):
        done = self.umbel("reload", NAME, timeout=timeout)
        assert done.returncode == 0, f"reload: {done.returncode}\n{done.stdout}{done.stderr}"

    def scale(self, count):
        done = self.umbel("scale", NAME, count)
        assert done.returncode == 0, f"scale {count}: {done.returncode}\n{done.stdout}{done.stderr}"

    def policy(self, policy):
        done = self.umbel("policy", NAME, policy)
        assert done.returncode == 0, f"policy {policy}: {done.returncode}\n{done.stdout}{done.stderr}"

    # ---- questions ----

    def status(self):
        return control.status(self, NAME)

    def is_settled(self, count):
        """The status, when so many workers serve, each in its slot, and nothing else is under way."""
        status = self.status()
        serving = [slot["slot"] for slot in status["slots"] if slot["state"] == "serving"]
        workers = [w["slot"] for w in status["workers"] if w["state"] == "ready"]
        settled = (sorted(serving) == sorted(workers) and len(workers) == count
                   and len(status["workers"]) == count and status["reload"] is None)
        return settled and status

    def wait_settled(self, count, timeout=30):
        try:
            return wait_until(lambda: self.is_settled(count), f"{count} serving slots", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(self.status(), indent=1)}") from None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def tally(self, pid):
        """Connections that this worker (has taken, has finished), as its program counted."""
        try:
            return struct.unpack("QQ", Path(self.logs, str(pid)).read_bytes())
        except (FileNotFoundError, struct.error):  # it has not taken any
            return 0, 0

    def in_hand(self, pid):
        taken, finished = self.tally(pid)
        return taken - finished
