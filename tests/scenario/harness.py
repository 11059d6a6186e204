"""Runs umbel as a user would and looks at it from outside: its output, its processes, its ports.
Knows no scenario; what must be true after every run is in Run.check()."""
import fcntl
import http.client
import os
import re
import select
import signal
import socket
import subprocess
import termios
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("UMBEL_BUILD", "build")
UMBEL = BUILD / "umbel"
PROGRAMS = ROOT / "tests" / "programs"

STARTED = re.compile(r"^umbel: slot (\d+):? pid (\d+) (?:started|steps in)")
LISTENS = re.compile(r"^umbel: slot (\d+) pid (\d+) listens on (\S+)")
ENDED = re.compile(r"^umbel: slot (\d+) pid (\d+) (killed by|exited with|left)")
REPORT = re.compile(r"^umbel: descriptors: (\d+) at start, (\d+) at end")
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:")
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")


def is_sanitized():
    return UMBEL.exists() and b"__asan_init" in UMBEL.read_bytes()


# Every time limit is multiplied by it.
SLOW = 4 if is_sanitized() else int(os.environ.get("UMBEL_TEST_BUSY", 1))


def wait_until(condition, what, timeout=10):
    """Polls, for what no event tells; returns the first true value."""
    end, pause = time.monotonic() + timeout * SLOW, 0.005
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {timeout * SLOW} s for {what}"
        time.sleep(pause)
        pause = min(1.3 * pause, 0.05)  # others test here, too
    return value


def processes(token):
    """Pids of all living processes (no zombies) that carry the token in their environment."""
    mark = f"UMBEL_TEST={token}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if mark in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                found.append(int(entry))
        except OSError:
            pass
    return found


def stat(pid):
    """The fields of /proc/PID/stat from the third on: state is [0], ticks in user mode [11]."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Run:
    """One `umbel run`. With tty, all three of its streams are a terminal, its controlling one."""

    def __init__(self, argv, env, home, token, tty=False, **popen):
        self.home, self.token, self.crashed = Path(home), token, False
        self.lines = []  # (stream, text) in the order of their arrival
        self.changed = threading.Condition()
        self.raw = b""  # all that the terminal showed
        self.reading = threading.Event()  # cleared: nobody reads its output
        self.reading.set()
        if tty:
            self.master, slave = os.openpty()
            self.process = subprocess.Popen(
                argv, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **popen)
            os.close(slave)
            self.hung_up = threading.Event()
            streams = {"tty": self.master}
        else:
            self.process = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, **popen)
            streams = {"stdout": self.process.stdout.fileno(),
                       "stderr": self.process.stderr.fileno()}
        self.pid = self.process.pid
        self.readers = {name: threading.Thread(target=self._read, args=(name, fd), daemon=True)
                        for name, fd in streams.items()}
        for reader in self.readers.values():
            reader.start()

    def _read(self, name, fd):
        rest = b""
        while True:
            self.reading.wait()
            try:
                # A terminal is closed while it is read, which a read() in progress would put off.
                while name == "tty" and not select.select([fd], [], [], 0.05)[0]:
                    if self.hung_up.is_set():
                        raise OSError
                chunk = os.read(fd, 1 << 16)
            except OSError:  # EIO: the terminal's other side is gone
                chunk = b""
            *whole, rest = (rest + chunk).split(b"\n")
            if not chunk and rest:
                whole.append(rest)
            with self.changed:
                self.raw += chunk if name == "tty" else b""
                for line in whole:
                    text = line.decode(errors="replace")
                    self.lines.append((name, ESCAPES.sub("", text) if name == "tty" else text))
                self.changed.notify_all()
            if not chunk:
                break
        if name == "tty":
            os.close(fd)

    def hang_up(self):
        """Closes the terminal, as its window does."""
        self.hung_up.set()
        self.readers["tty"].join()

    def output(self, stream=None):
        with self.changed:
            return [text for name, text in self.lines if stream in (None, name)]

    def find(self, pattern, stream=None):
        return [m for text in self.output(stream) if (m := re.search(pattern, text))]

    def _wait(self, condition, what, timeout):
        end = time.monotonic() + timeout * SLOW
        with self.changed:  # an RLock: condition may look at the output
            while not (value := condition()):
                left = end - time.monotonic()
                assert left > 0, f"waited {timeout * SLOW} s for {what}"
                over = not any(r.is_alive() for r in self.readers.values())
                assert not over, f"the output ended before {what}"
                self.changed.wait(min(left, 0.5))
        return value

    def wait_for(self, pattern, timeout=10, count=1, stream=None):
        """The count-th match, once it has been printed."""
        def seen():
            found = self.find(pattern, stream)
            return len(found) >= count and found[count - 1]
        return self._wait(seen, f"{count} x {pattern!r}", timeout)

    def slots(self, listening=False):
        """{slot: pid} of the workers that were reported as started (or listening) and not ended."""
        slots = {}
        for text in self.output():
            if m := (LISTENS if listening else STARTED).match(text):
                slots[int(m[1])] = int(m[2])
            elif (m := ENDED.match(text)) and slots.get(int(m[1])) == int(m[2]):
                del slots[int(m[1])]
        return slots

    def wait_listening(self, count, timeout=15):
        def ready():
            slots = self.slots(listening=True)
            return len(slots) == count and slots == self.slots() and slots
        return self._wait(ready, f"{count} listening workers", timeout)

    def wait_successor(self, slot, pid, timeout=15):
        """The pid of the listening worker that follows pid in its slot."""
        def there():
            now = self.slots(listening=True).get(slot)
            return now != pid and now
        return self._wait(there, f"a successor in slot {slot}", timeout)

    def address(self):
        return self.find(LISTENS.pattern)[0][3]

    def send(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=15):
        """Its exit status, once it and its output are over."""
        status = self.process.wait(timeout * SLOW)
        for reader in self.readers.values():
            reader.join(5)
        return status

    def stop(self, number=signal.SIGTERM, timeout=15):
        self.send(number)
        return self.wait(timeout)

    def kill(self):
        """kill -9 of the primary: it can clean up nothing then."""
        self.crashed = True
        self.stop(signal.SIGKILL)
        wait_until(lambda: not processes(self.token), "the workers of a dead primary to end")

    def check(self):
        """After all runs of a test: nothing left behind, nothing lost."""
        status = self.process.returncode
        assert not self.find(SANITIZER.pattern), "the sanitizer has something to say"
        if self.crashed:
            return
        assert not os.listdir(self.home), "files are left"
        reports = [m for text in self.output() if (m := REPORT.match(text))]
        # Nobody can read the report when the terminal is gone; bad usage never opens a cluster.
        if status in (0, 1) and not hasattr(self, "hung_up"):
            assert reports, f"no report of descriptors (status {status})"
        for report in reports:
            assert report[1] == report[2], report[0]

    def end(self):
        """Stops it if the test did not."""
        self.reading.set()
        try:
            if self.process.poll() is None:
                assert self.stop() == 0
            self.wait()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(10)
            if hasattr(self, "hung_up"):
                self.hang_up()
            print(f"--- {self.process.args}: {self.process.returncode}")
            shown = self.lines if len(self.lines) < 200 else self.lines[:100] + self.lines[-100:]
            print("\n".join(f"{name}: {text[:300]}" for name, text in shown))


def get(port, path="/", method="GET", body=None, timeout=20):
    """The body of one answer on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * SLOW)
    try:
        connection.request(method, path, body, {"Connection": "close"})
        answer = connection.getresponse()
        assert answer.status == 200, f"{path}: {answer.status}"
        return answer.read()
    finally:
        connection.close()


def who(port, count):
    """Counter of the pids that answered count requests, one after the other."""
    return Counter(int(get(port)) for _ in range(count))


def is_refused(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0
