"""What is remembered of deaths and decisions, and what those who follow are told."""
import json
import os
import select
import signal
import subprocess

import pytest
from c_programs import TESTS
from control import Events, status, verb, why
from harness import SLOW, UMBEL, get, is_sanitized, wait_until


@pytest.fixture
def app(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--soak", "100ms", "--", "node", "life.js", port)
    run.pids = run.wait_listening(2)
    run.port = port
    return run


def exit_of(run, pid):
    (record,) = [r for r in why(run) if r["event"] == "exit" and r["pid"] == pid]
    return record


def test_nothing_has_happened(app):
    done = verb(app, "why", "app")
    assert (done.returncode, done.stdout) == (0, "nothing has happened: no worker has ended\n")
    assert why(app) == []


def test_killed_from_outside(app):
    get(app.port)
    os.kill(app.pids[2], signal.SIGKILL)
    app.wait_successor(2, app.pids[2])
    record = exit_of(app, app.pids[2])
    assert (record["slot"], record["generation"]) == (2, 1)
    assert (record["code"], record["signal"], record["core"]) == (None, "KILL", False)
    assert (record["asked"], record["was_ready"]) == (False, True)
    assert (record["late"], record["out_of_memory"]) == (False, False)
    assert record["up_ms"] > 0 and record["time_ms"] > 1.7e12 and record["lines"] == []
    assert "killed by SIGKILL" in record["text"]
    text = verb(app, "why", "app").stdout
    assert f"slot 2  pid {app.pids[2]}, generation 1, killed by SIGKILL after" in text
    assert "nobody here asked it to" in text and "never ready" not in text


def test_an_exit_status(app):
    with pytest.raises(OSError):
        get(app.port, "/exit?code=7")
    slot, pid = map(int, app.wait_for(r"slot (\d) pid (\d+) exited with 7")
                    .groups())
    record = exit_of(app, pid)
    assert (record["slot"], record["code"], record["signal"], record["asked"]) == (slot, 7, None, False)
    assert record["handed"] == 1


def test_asked(app):
    assert verb(app, "scale", "app", 1).returncode == 0
    app.wait_for("^umbel: slot 2 pid .* left")
    record = exit_of(app, app.pids[2])
    assert (record["asked"], record["was_ready"]) == (True, True)
    # Drained it ends by itself; on a slow machine the stop signal comes first.
    assert record["code"] == 0 or record["signal"] == "TERM"
    assert "it was asked to" in verb(app, "why", "app", 2).stdout


def test_last_lines(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--max-failures", 2, "--env", "LIFE_SLOT=2", "--", "node", "life.js",
                port, "throws")
    run.wait_for("^umbel: slot 2 failed")
    records = why(run)
    ended = [r for r in records if r["event"] == "exit"]
    assert [(r["slot"], r["code"], r["was_ready"], r["asked"]) for r in ended] == [(2, 1, False, False)] * 2
    for r in ended:
        assert r["lines"][0] == "reading the configuration"
        assert "Error: there is no configuration" in r["lines"]
    decided = [r["what"] for r in records if r["event"] == "decision"]
    assert decided == ["backoff", "failed"] or decided == ["failed"]
    text = verb(run, "why", "app", 2).stdout
    assert text.count("    Error: there is no configuration\n") == 2
    assert "it was never ready" in text and "failed: 2 workers in a row" in text


def test_only_the_last_lines(umbel, port, tmp_path):
    """And whatever the program wrote, what is shown is printable."""
    script = tmp_path / "talks"
    script.write_text("#!/bin/sh\nfor i in $(seq 1000); do echo line $i >&2; done\n"
                      "printf '\\033[31mred\\007 \\303\\244\\n' >&2\nexit 3\n")
    script.chmod(0o755)
    run = umbel("-n", 1, "--name", "app", "--min-uptime", "1m", "--max-failures", 0, "--", script)
    run.wait_for("exited with 3")
    lines = wait_until(lambda: [r for r in why(run) if r["event"] == "exit"], "its end")[0]["lines"]
    assert 5 <= len(lines) <= 100
    assert lines[-2] == "line 1000" and "red" in lines[-1]
    assert lines[0] == f"line {1000 - len(lines) + 2}"
    text = verb(run, "why", "app").stdout
    assert "line 1000" in text and all(c == "\n" or 32 <= ord(c) < 127 for c in text)


def test_of_one_slot(app):
    for slot in (1, 2):
        os.kill(app.pids[slot], signal.SIGKILL)
        app.wait_successor(slot, app.pids[slot])
    for slot in (1, 2):
        records = why(app, slot)
        assert {r["slot"] for r in records if r["slot"]} == {slot}
        assert app.pids[slot] in [r.get("pid") for r in records]
        text = verb(app, "why", "app", slot).stdout
        assert f"slot {slot} " in text and f"slot {3 - slot} " not in text
    assert why(app, 7) == []


def test_a_reload(app):
    assert verb(app, "reload", "app").returncode == 0
    records = why(app)
    assert any(r["event"] == "decision" and r["what"] == "reload" for r in records)
    (over,) = [r for r in records if r["event"] == "reloaded"]
    assert (over["error"], over["generation"]) == (0, 2)
    times = [r["time_ms"] for r in records]
    assert times == sorted(times)
    assert "reload" in verb(app, "why", "app").stdout


def test_a_reload_that_was_undone(umbel, port, tmp_path):
    file = tmp_path / "broken"
    run = umbel("-n", 1, "--name", "app", "--env", f"LIFE_WHILE={file}", "--", "node", "life.js", port, "throws")
    pid = run.wait_listening(1)[1]
    file.touch()
    assert verb(run, "reload", "app").returncode == 4
    (over,) = [r for r in why(run) if r["event"] == "reloaded"]
    assert over["error"] < 0 and "exited with 1" in over["why"]
    assert "Error: there is no configuration" in over["lines"]
    assert [w["pid"] for w in status(run)["workers"]] == [pid]


def test_a_scale_is_a_decision(app):
    assert verb(app, "scale", "app", 3).returncode == 0
    app.wait_listening(3)
    assert [r for r in why(app) if r["event"] == "decision" and r["what"] == "scale"]


def test_why_after_a_back_off(app):
    for _ in range(2):
        pid = app.slots(listening=True)[1]
        os.kill(pid, signal.SIGSEGV)
        app.wait_successor(1, pid)
    ended = [r for r in why(app, 1) if r["event"] == "exit"]
    assert [r["signal"] for r in ended] == ["SEGV", "SEGV"]


@pytest.mark.deadline(120)
def test_it_does_not_remember_for_ever(umbel, port):
    """The newest 500 or so are kept."""
    run = umbel("-n", 1, "--name", "app", "--min-uptime", 0, "--", TESTS / "serve", f"tcp://:{port}")
    pid = run.wait_listening(1)[1]
    for _ in range(40 if is_sanitized() else 520):
        os.kill(pid, signal.SIGKILL)
        pid = run.wait_successor(1, pid)
    records = why(run)
    assert len(records) == (40 if is_sanitized() else 500)
    times = [r["time_ms"] for r in records]
    assert times == sorted(times)


# ---- umbel events ----

class Follower:
    """`umbel events NAME`."""

    def __init__(self, run):
        self.process = subprocess.Popen(
            [UMBEL, "events", "app"], env=os.environ | {"UMBEL_HOME": str(run.home)}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.seen = []

    def has_begun(self):
        return select.select([self.process.stdout], [], [], 0)[0]

    def wait_for(self, name):
        """Its lines come as they happen, not when a buffer is full."""
        while True:
            line = self.process.stdout.readline()
            assert line, f"it ended before {name}"
            self.seen.append(json.loads(line))
            if self.seen[-1]["event"] == name:
                return self.seen[-1]

    def end(self):
        self.process.kill()
        self.process.communicate(timeout=10)


def test_events(app):
    follower = Follower(app)
    try:
        pid = app.pids[2]
        while not follower.has_begun():  # deaths before it was connected are not told
            os.kill(pid, signal.SIGKILL)
            pid = app.wait_successor(2, pid)
        os.kill(pid, signal.SIGKILL)  # the first line may have been of a start
        app.wait_successor(2, pid)
        ended = follower.wait_for("exit")
        assert (ended["signal"], ended["slot"], ended["asked"]) == ("KILL", 2, False)
        started = follower.wait_for("fork")
        assert (started["slot"], started["generation"]) == (2, 1)
        assert follower.wait_for("listening")["address"] == f"tcp://[::]:{app.port}"
        assert follower.wait_for("ready")["pid"] == started["pid"]
        assert verb(app, "scale", "app", 1).returncode == 0
        while not (ended := follower.wait_for("exit"))["asked"]:
            pass
        assert ended["slot"] == 2
        assert app.stop() == 0
        rest = [json.loads(line) for line in follower.process.communicate(timeout=10 * SLOW)[0].splitlines()]
        assert [(e["slot"], e["asked"]) for e in rest if e["event"] == "exit"] == [(1, True)]
        assert follower.process.returncode == 0
    finally:
        follower.end()


def test_decisions_are_events(app):
    events = Events(app)
    for _ in range(2):
        os.kill(wait_until(lambda: app.slots(listening=True).get(1), "slot 1 to listen"), signal.SIGSEGV)
        events.wait_for("ready")
    assert verb(app, "reload", "app").returncode == 0
    assert events.wait_for("reloaded")["error"] == 0
    assert "reload" in [e.get("what") for e in events.seen]
    events.close()


def test_a_reader_that_leaves(app):
    """umbel events app | head -1"""
    follower = Follower(app)
    follower.process.stdout.close()
    pid = app.pids[2]
    while follower.process.poll() is None:
        os.kill(pid, signal.SIGKILL)
        pid = app.wait_successor(2, pid)
    assert follower.process.stderr.read() == ""
    follower.process.stderr.close()
