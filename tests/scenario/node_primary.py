"""Node's own primary with C programs as workers (tests/programs/node_primary.js): starts it, gives it
commands, waits for what it says."""
import json
import os
import secrets
import signal
import subprocess
import threading
import time

import pytest
from c_programs import TESTS, marked
from harness import BUILD, PROGRAMS, SANITIZER, SLOW, stat, wait_until

NODE = os.environ.get("UMBEL_TEST_NODE", "node")
SHIM = BUILD / "umbel-shim.cjs"
WAYS = ["execPath", "shim", "execve"]
POLICIES = ["rr", "none"]


def node_version():
    text = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, text.strip().lstrip("v").split(".")))


class NodePrimary:
    def __init__(self, way, policy, argv, token, settings, env):
        env = {**os.environ, "C_TEST": token, "NODE_CLUSTER_SCHED_POLICY": policy,
               "SETTINGS": json.dumps(settings), **(env or {})}
        self.process = subprocess.Popen(
            [NODE, PROGRAMS / "node_primary.js", way, SHIM, *map(str, argv)], env=env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid, self.token = self.process.pid, token
        self.events, self.errors = [], []
        self.changed = threading.Condition()
        self.readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in
                        ((self.process.stdout, self.events), (self.process.stderr, self.errors))]
        for reader in self.readers:
            reader.start()

    def _read(self, file, into):
        for line in file:
            with self.changed:
                into.append(json.loads(line) if into is self.events else line.rstrip())
                self.changed.notify_all()

    def say(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def find(self, *words):
        """The events that begin with these words; None stands for any."""
        with self.changed:
            return [e for e in self.events
                    if len(e) >= len(words) and all(w in (None, x) for w, x in zip(words, e))]

    def wait(self, *words, count=1, timeout=15):
        """The count-th such event."""
        def there():
            return len(self.find(*words)) >= count or self.process.poll() is not None
        with self.changed:
            self.changed.wait_for(there, timeout * SLOW)
        found = self.find(*words)
        assert len(found) >= count, f"waited for {count} x {words}: {self.events} {self.errors}"
        return found[count - 1]

    def wait_error(self, text, timeout=15):
        def there():
            return [line for line in self.errors if text in line]
        with self.changed:
            assert self.changed.wait_for(there, timeout * SLOW), f"{text!r} in {self.errors}"
        return there()[0]

    def fork(self, count=1, addresses=1):
        """Ids of workers that listen on so many addresses."""
        first = 1 + len({e[1] for e in self.find("online")})
        for _ in range(count):
            self.say("fork")
        ids = list(range(first, first + count))
        for number in ids:
            self.wait("listening", number, count=addresses)
        return ids

    def pid_of(self, number):
        """What Node takes for the worker."""
        return self.wait("online", number)[2]

    def descriptors(self):
        count = len(self.find("descriptors"))
        self.say("descriptors")
        return self.wait("descriptors", count=count + 1)[1]

    def end(self, timeout=15):
        """Without workers it ends by itself: else it, or Node, keeps something."""
        if self.process.poll() is None:
            self.say("close")
        status = self.process.wait(timeout * SLOW)
        for reader in self.readers:
            reader.join(5)
        return status

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        wait_until(lambda: not marked(self.token), "the workers of a dead primary to end")


@pytest.fixture
def node_primary():
    """node_primary(way, policy, *ADDRESSES) starts one whose workers are tests/programs/under_node.
    Keywords: program, settings, env. It is to have no workers at the end, or to be dead."""
    primaries = []

    def start(way, policy, *args, program=TESTS / "under_node", settings=None, env=None):
        if way == "execve" and node_version() < (22, 15):
            pytest.skip("process.execve() came with Node 22.15")
        token = secrets.token_hex(8)
        primary = NodePrimary(way, policy, [program, *args], token, settings or {}, env)
        primaries.append(primary)
        return primary

    yield start
    failures = []
    for primary in primaries:
        try:
            if primary.process.poll() is None:
                assert primary.end(5) == 0
            assert not [e for e in primary.errors if SANITIZER.search(e)], primary.errors
            wait_until(lambda p=primary: not marked(p.token), "its processes to end", 5)
        except Exception as failure:
            failures.append(failure)
        print(f"--- {primary.process.args}: {primary.events} {primary.errors}")
        if primary.process.poll() is None:
            primary.process.kill()
        for pid in marked(primary.token):
            os.kill(pid, signal.SIGKILL)
    if failures:
        raise failures[0]


def cpu_seconds(pid, seconds):
    """What it uses meanwhile."""
    def ticks():
        return sum(map(int, stat(pid)[11:13]))
    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK")
