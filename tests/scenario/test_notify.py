"""What programs say as they would to systemd: READY=1, STOPPING=1, STATUS= to NOTIFY_SOCKET."""
import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest
from c_programs import TESTS
from control import Events, exits, slot, status, verb
from harness import stat, wait_until
from intercepting import AS_NOBODY, FORBID, NOBODY, needs_root

SAYS = TESTS / "says"

SPARE = """import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"STATUS=%d" % os.getpid(), "\\0" + os.environ["NOTIFY_SOCKET"][1:])
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
server.accept()
"""


def say(text, address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text, address)


def address_of(pid):
    """Its NOTIFY_SOCKET, once it runs its program."""
    def value():
        with open(f"/proc/{pid}/environ", "rb") as f:
            entries = f.read().split(b"\0")
        return dict(entry.split(b"=", 1) for entry in entries if b"=" in entry).get(b"NOTIFY_SOCKET")
    return b"\0" + wait_until(value, "its environment")[1:]


def wait_for_control(run):
    wait_until(lambda: verb(run, "status", "app").returncode == 0, "the app to answer")


def statuses(run):
    return {w["pid"]: w["status"] for w in status(run)["workers"]}


def state_of(pid):
    return stat(pid)[0]


@contextlib.contextmanager
def stopped(run):
    """It sees nothing meanwhile."""
    os.kill(run.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(run.pid, signal.SIGCONT)


def say_unseen(run, ends_as):
    """Each of its workers (SAYS) speaks, and the sender is gone before the primary looks."""
    pids = run.slots().values()
    with stopped(run):
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: {state_of(pid) for pid in pids} == {ends_as}, "all to have spoken", 30)


class Speaker:
    """One worker that says to its NOTIFY_SOCKET what a test tells it to."""

    def __init__(self, umbel, directory, *options):
        self.fifo = directory / "fifo"
        os.mkfifo(self.fifo)
        self.run = umbel("-n", 1, "--name", "app", *options, "--", "python3", "notify.py", self.fifo)
        self.run.wait_for(r"^\[\d\] begins$", timeout=20)
        self.pid = self.run.slots()[1]
        self.said = 0
        self.orders = open(self.fifo, "w", buffering=1)

    def say(self, text, who="self"):
        self.orders.write(f"{who} {text!r}\n")
        self.said += 1
        self.run.wait_for(r"^\[\d\] said$", count=self.said)

    def worker(self):
        (found,) = [w for w in status(self.run)["workers"] if w["pid"] == self.pid]
        return found

    def wait_status(self, wanted):
        wait_until(lambda: self.worker()["status"] == wanted, f"the status {wanted!r}")

    def address(self):
        return address_of(self.pid)


@pytest.fixture
def speaker(umbel, tmp_path):
    speakers = []

    def start(*options):
        speakers.append(Speaker(umbel, tmp_path, *options))
        return speakers[-1]

    yield start
    for each in speakers:
        each.orders.close()


@pytest.mark.parametrize("who", ["self", "child", "orphan"])
@pytest.mark.parametrize("share", ["none", "channel", "intercept"])
def test_ready(speaker, share, who):
    one = speaker("--share", share, "--wait-ready")
    assert one.worker()["state"] == "starting"
    one.say(b"READY=1\nSTATUS=serves", who)
    wait_until(lambda: one.worker()["state"] == "ready", "it to be ready")
    assert one.worker()["status"] == "serves"
    assert slot(one.run, 1)["state"] == "serving"


def test_ready_makes_ready_without_being_waited_for(speaker):
    one = speaker("--share", "none", "--min-uptime", "1h")
    assert one.worker()["state"] == "starting"
    one.say(b"READY=1")
    wait_until(lambda: one.worker()["state"] == "ready", "it to be ready")


@pytest.mark.parametrize("user", ["ours", pytest.param("nobody", marks=needs_root)])
def test_the_sender_is_gone(umbel, user):
    """systemd-notify in a script, a shell's socat: they end at once."""
    if user == "nobody" and subprocess.run([*AS_NOBODY, SAYS], cwd="/", stderr=subprocess.DEVNULL).returncode != 2:
        pytest.skip("nobody may not run it where it is")
    run = umbel("-n", 20, "--name", "app", "--share", "none", "--wait-ready", *([] if user == "ours" else
                ["--user", user]), "--", SAYS, "READY=1")
    run.wait_for(r"^\[\d+\] begins$", count=20, timeout=30)
    wait_for_control(run)
    assert {w["state"] for w in status(run)["workers"]} == {"starting"}
    say_unseen(run, "T")
    wait_until(lambda: {w["state"] for w in status(run)["workers"]} == {"ready"}, "all to be ready")


@pytest.mark.parametrize("code", [0, 3])
def test_the_worker_is_gone(umbel, code):
    """What it said before its end counts."""
    run = umbel("-n", 1, "--name", "app", "--share", "none", "--min-uptime", "1h", "--", SAYS,
                "STOPPING=1", code)
    run.wait_for(r"^\[1\] begins$", timeout=20)
    wait_for_control(run)
    pid = run.slots()[1]
    say_unseen(run, "Z")
    wait_until(lambda: exits(run, pid), "it to be reaped")
    assert exits(run, pid)[0]["asked"]


def test_whose_socket_it_is_decides(umbel):
    """Not who sends: a process that has another worker's variable speaks for that one."""
    run = umbel("-n", 2, "--name", "app", "--share", "none", "--", "sleep", 600)
    wait_for_control(run)
    wait_until(lambda: len(run.slots()) == 2, "both to be started")
    one, other = run.slots().values()
    say(b"STATUS=one", address_of(one))
    wait_until(lambda: statuses(run) == {one: "one", other: None}, "the one to have it")
    say(b"STATUS=other", address_of(other))
    wait_until(lambda: statuses(run) == {one: "one", other: "other"}, "the other one to have it")


@needs_root
def test_another_user_is_ignored(speaker):
    one = speaker("--share", "none", "--wait-ready")
    flood = f"""import os, socket
os.setresuid(*[{NOBODY}] * 3)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"READY=1\\nSTATUS=not mine", {one.address()!r})
for _ in range(2000):  # what floods the socket stops nobody
    try:
        s.sendto(b"STATUS=not mine", socket.MSG_DONTWAIT, {one.address()!r})
    except BlockingIOError:
        pass
"""
    subprocess.run([sys.executable, "-c", flood], check=True)
    one.say(b"WATCHDOG=1")
    assert one.worker()["status"] is None
    one.say(b"STATUS=mine")  # behind all that
    one.wait_status("mine")
    assert one.worker()["state"] == "starting"


@needs_root
def test_who_became_another_user_is_heard(speaker):
    """While it lives."""
    one = speaker("--share", "none", "--wait-ready")
    one.say(b"READY=1\nSTATUS=unprivileged", "fallen")
    wait_until(lambda: one.worker()["state"] == "ready", "it to be ready")
    assert one.worker()["status"] == "unprivileged"


def test_the_socket_ends_with_the_worker(umbel):
    run = umbel("-n", 1, "--name", "app", "--share", "none", "--", "sleep", 600)
    wait_until(run.slots, "it to be started")
    wait_for_control(run)
    before = len(os.listdir(f"/proc/{run.pid}/fd"))
    for _ in range(3):
        pid = run.slots()[1]
        address = address_of(pid)
        say(b"READY=1", address)
        wait_until(lambda: slot(run, 1)["state"] == "serving", "it to be ready")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: run.slots().get(1) not in (None, pid), "a successor")
        with pytest.raises(ConnectionRefusedError):
            say(b"STATUS=late", address)
    wait_until(lambda: len(os.listdir(f"/proc/{run.pid}/fd")) == before, "as many descriptors")


def test_without_a_socket(umbel):
    """A worker can do without; it is said."""
    run = umbel("-n", 1, "--name", "app", "--share", "none", "--", "sh", "-c",
                "echo has ${NOTIFY_SOCKET-none}; exec sleep 600", before=[FORBID, "passcred"])
    run.wait_for(r"^\[1\] has none$")
    pid = run.slots()[1]
    run.wait_for(rf"^umbel: slot 1: pid {pid} has no NOTIFY_SOCKET: Cannot allocate memory$")


def test_a_spare(umbel, port):
    run = umbel("-n", 1, "--name", "app", "--spares", 1, "--listen", f"tcp://127.0.0.1:{port}", "--", "python3", "-c",
                SPARE)
    wait_for_control(run)
    wait_until(lambda: [s["state"] for s in status(run)["spares"]] == ["held"], "a spare to be held", 20)
    (spare,) = [s["pid"] for s in status(run)["spares"]]
    first = run.slots()[1]
    wait_until(lambda: statuses(run)[first] == str(first), "the first one to be heard")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: statuses(run).get(spare) == str(spare), "it to step in", 20)
    say(b"STATUS=serves", address_of(spare))
    wait_until(lambda: statuses(run)[spare] == "serves", "it to be heard")


def test_status(speaker):
    one = speaker("--share", "none")
    one.say(b"NONSENSE\nSTATUS=first\nFDSTORE=1\nMAINPID=1\n\nSTATUS=gr\xc3\xbc\xc3\x9fe \x1b[31m\n")
    one.wait_status("grüße \x1b[31m")
    shown = verb(one.run, "status", "app").stdout
    assert "grüße ?[31m" in shown and "\x1b" not in shown
    one.say(b"STATUS=" + b"x" * 255 + "ü".encode() * 500)
    one.wait_status("x" * 255)  # whole characters
    one.say(b"STATUS=\xff")
    one.wait_status("?")
    one.say(b"STATUS=" + b"y" * 5000)  # more than anybody says
    one.say(b"STATUS=a\0b")
    one.say(b"READY=1")
    wait_until(lambda: one.worker()["state"] == "ready", "it to be ready")
    assert one.worker()["status"] == "?"
    one.say(b"STATUS=")
    one.wait_status(None)


def test_descriptors_that_come_are_closed(speaker):
    one = speaker("--share", "none")
    before = len(os.listdir(f"/proc/{one.run.pid}/fd"))
    for i in range(5):
        one.say(f"FDSTORE=1\nSTATUS={i}".encode(), "barrier")  # it waits until they are closed
        one.wait_status(str(i))
    # The connection that asked for the last status too.
    wait_until(lambda: len(os.listdir(f"/proc/{one.run.pid}/fd")) == before, "all to be closed")


@pytest.mark.parametrize("share", ["none", "channel"])
def test_stopping(speaker, share):
    """Somebody follows while it finishes what it has."""
    one = speaker("--share", share)
    one.say(b"READY=1")
    wait_until(lambda: one.worker()["state"] == "ready", "it to be ready")
    events = Events(one.run)
    one.say(b"STOPPING=1\nSTATUS=finishing")
    assert events.wait_for("fork")["slot"] == 1
    events.close()
    worker = one.worker()
    assert (worker["state"], worker["status"]) == ("draining", "finishing")
    one.orders.close()  # both end: the other one reads an empty FIFO
    one.run.wait_for(rf"slot 1 pid {one.pid} left", timeout=20)


def test_stopping_within_the_grace(speaker):
    one = speaker("--share", "none", "--grace", "500ms")
    one.say(b"READY=1\nSTOPPING=1")
    one.run.wait_for(rf"slot 1 pid {one.pid} .*KILL", timeout=20)


def test_each_worker_has_its_own(umbel):
    addresses = set()
    for name in ("one", "two"):
        run = umbel("-n", 2, "--name", name, "--share", "none", "--", "sh", "-c",
                    "echo $NOTIFY_SOCKET; exec sleep 600")
        addresses |= {run.wait_for(r"^\[\d\] (@\S+)$", count=count)[1] for count in (1, 2)}
    assert len(addresses) == 4
