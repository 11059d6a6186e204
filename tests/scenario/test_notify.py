"""What programs say as they would to systemd: READY=1, STOPPING=1, STATUS= to NOTIFY_SOCKET."""
import os
import socket

import pytest
from control import Events, slot, status, verb
from harness import wait_until


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
        variables = dict(entry.split(b"=", 1) for entry in
                         open(f"/proc/{self.pid}/environ", "rb").read().split(b"\0") if b"=" in entry)
        return b"\0" + variables[b"NOTIFY_SOCKET"][1:]


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


def test_a_stranger_is_ignored(speaker):
    one = speaker("--share", "none", "--wait-ready")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b"READY=1\nSTATUS=not mine", one.address())
        one.say(b"WATCHDOG=1")
        assert one.worker()["status"] is None
        for _ in range(2000):  # what floods the socket stops nobody
            try:
                s.sendto(b"STATUS=not mine", socket.MSG_DONTWAIT, one.address())
            except BlockingIOError:
                pass
        one.say(b"STATUS=mine")  # behind all that
        one.wait_status("mine")
    assert one.worker()["state"] == "starting"


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
    assert len(os.listdir(f"/proc/{one.run.pid}/fd")) == before


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


def test_each_app_has_its_own(umbel, tmp_path, token):
    addresses = set()
    for name in ("one", "two"):
        run = umbel("-n", 2, "--name", name, "--share", "none", "--", "sh", "-c",
                    "echo $NOTIFY_SOCKET; exec sleep 600")
        found = [run.wait_for(r"^\[\d\] (@\S+)$", count=count)[1] for count in (1, 2)]
        assert len(set(found)) == 1
        addresses |= set(found)
    assert len(addresses) == 2
