"""umbel reload: good code, bad code, canaries, and what comes in between. See test_reload_library.py for
umbel_reload(), and tests/torture for reloads under load."""
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import control
import pytest
from c_programs import EXAMPLES, TESTS, greeting
from harness import SLOW, UMBEL, get, is_refused, wait_until
from test_control import Client

# What a deployment puts on the disk. It tells who it is; VERSION is to be replaced.
GOOD = """
const http = require('http');
const fs = require('fs');
const {UMBEL_SLOT: slot, UMBEL_GENERATION: generation} = process.env;
const has = (name) => fs.existsSync(`${__dirname}/${name}`);
if (has(`broken-${slot}`) || process.env.MODE === 'crash')
	throw new Error('told to crash');
let first = true;
const server = http.createServer((req, res) => {
	if (first)
		console.log(`first request of ${process.pid}`);
	first = false;
	if (req.url === '/crash' && generation !== '1')
		process.exit(1);
	res.end(JSON.stringify({pid: process.pid, slot, generation, version: 'VERSION', env: process.env}));
});
setTimeout(() => server.listen(process.argv[2]), has(`slow-${slot}`) ? 1500 : 0);
"""

SOAK = ("--soak", "200ms")
LONG_SOAK = ("--soak", "1200ms")  # long enough to do something meanwhile


def words(*more):
    return [str(UMBEL), *map(str, more)]


class Verb(subprocess.Popen):
    """A command of umbel that runs while the test goes on."""

    def over(self):
        """(exit status, stdout, stderr)"""
        out, err = self.communicate(timeout=30 * SLOW)
        return self.returncode, out, err


class App:
    """`umbel run` of a program on the disk, which a deployment replaces as a whole."""

    def __init__(self, umbel, directory, environment, port):
        self.umbel, self.directory, self.port = umbel, directory, port
        self.env, self.verbs = environment, []
        self.deploy(GOOD)

    def deploy(self, text):
        (self.directory / "new").write_text(text)
        os.rename(self.directory / "new", self.directory / "app.js")

    def start(self, count, *options):
        self.run = self.umbel("-n", count, "--name", "app", *options, "--", "node",
                              self.directory / "app.js", self.port)
        return self

    def ready(self, count, *options):
        self.start(count, *options)
        self.pids = self.run.wait_listening(count)
        return self

    def verb(self, *more, env=None):
        """One that has begun."""
        verb = Verb(words(*more), env=env or self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE, text=True)
        self.verbs.append(verb)
        return verb

    def ask(self, *more, env=None):
        return self.verb(*more, env=env).over()

    def reload(self, *more, env=None):
        return self.ask("reload", "app", *more, env=env)

    def reloaded(self, *more, env=None):
        """A reload that must succeed."""
        status, out, err = self.reload(*more, env=env)
        assert (status, err) == (0, ""), out + err
        return out

    def undone(self, *more):
        """A reload that must be undone: its reason and the last lines of the worker."""
        status, out, err = self.reload(*more)
        assert status == 4, out + err
        assert err.startswith("umbel: reload undone: ")
        return err

    def status(self):
        return control.status(self.run)

    def phase(self):
        return (self.status()["reload"] or {}).get("phase")

    def settled(self, count):
        """{slot: (pid, generation)}, once there are so many, all ready, and no reload."""
        def workers():
            s = self.status()
            found = {w["slot"]: (w["pid"], w["generation"]) for w in s["workers"]}
            return (s["reload"] is None and len(s["workers"]) == len(found) == count
                    and all(w["state"] == "ready" for w in s["workers"]) and found)

        return wait_until(workers, f"{count} settled workers")

    def unchanged(self):
        """Those of the start, and nobody else, and they serve."""
        assert self.settled(len(self.pids)) == {slot: (pid, 1) for slot, pid in self.pids.items()}
        assert self.who(10 * len(self.pids)) == set(self.pids.values())

    def get(self, path="/"):
        return json.loads(get(self.port, path))

    def who(self, count):
        return {self.get()["pid"] for _ in range(count)}

    def of_slot(self, slot):
        """What its worker answers."""
        return wait_until(lambda: (a := self.get())["slot"] == str(slot) and a, f"slot {slot} to answer")

    def started_after(self, pid):
        """The pid of the worker that was started beside or after pid."""
        slot = next(s for s, p in self.pids.items() if p == pid)
        return int(self.run.wait_for(rf"^umbel: slot {slot} pid (\d+) started", count=2)[1])

    def lines(self):
        return self.run.output("stdout")

    def place(self, pattern):
        """Which line it is."""
        places = [i for i, line in enumerate(self.lines()) if re.search(pattern, line)]
        assert len(places) == 1, f"{pattern}: {len(places)} lines"
        return places[0]

    def most_pairs(self):
        """How many slots had two workers at the same time, at most."""
        alive, most = {}, 0
        for line in self.lines():
            if m := re.match(r"umbel: slot (\d+) pid (\d+) (started|left|killed|exited)", line):
                pids = alive.setdefault(m[1], set())
                (pids.add if m[3] == "started" else pids.discard)(m[2])
            most = max(most, sum(len(pids) == 2 for pids in alive.values()))
        return most


@pytest.fixture
def app(umbel, tmp_path, environment, port):
    it = App(umbel, tmp_path, environment, port)
    yield it
    for verb in it.verbs:
        if verb.poll() is None:
            verb.kill()
            verb.communicate()


class Asking(threading.Thread):
    """Asks again and again, each time on a new connection; any failure fails the test. The short pause leaves the
    machine to those who are being replaced, and to other tests."""

    def __init__(self, app):
        super().__init__(daemon=True)
        self.app, self.pids, self.failure, self.enough = app, set(), None, threading.Event()
        self.count = 0

    def run(self):
        while not self.enough.wait(0.005):
            try:
                self.pids.add(self.app.get()["pid"])
                self.count += 1
            except Exception as failure:
                self.failure = failure
                return

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.enough.set()
        self.join()
        assert not self.failure, f"a request failed: {self.failure!r}"


def deliver(app, signal_number):
    """The signal, once it has been read: two of a kind would be one."""
    app.run.send(signal_number)
    bit = 1 << signal_number - 1

    def is_read():
        with open(f"/proc/{app.run.pid}/status") as file:
            return not any(int(line.split()[1], 16) & bit for line in file
                           if line.startswith(("SigPnd", "ShdPnd")))

    wait_until(is_read, "the signal to be read")


# ---- good code ----


def test_every_worker_is_new(app):
    app.ready(3, *SOAK)
    app.deploy(GOOD.replace("VERSION", "2"))
    with Asking(app) as asking:
        out = app.reloaded()
    assert re.search(r"^reload: generation 2 serves, after \d+\.\d s$", out.splitlines()[-1])
    now = app.settled(3)
    assert sorted(now) == [1, 2, 3] and {g for _, g in now.values()} == {2}
    new = {slot: pid for slot, (pid, _) in now.items()}
    assert not set(new.values()) & set(app.pids.values())
    assert asking.pids <= {*new.values(), *app.pids.values()} and asking.pids & set(app.pids.values())
    answers = [app.get() for _ in range(30)]
    assert {a["pid"] for a in answers} == set(new.values())
    assert {(a["version"], a["generation"]) for a in answers} == {("2", "2")}
    assert app.status()["generation"] == 2
    for slot, old in app.pids.items():  # the successor first
        order = [rf"slot {slot} pid {new[slot]} started", rf"slot {slot} pid {new[slot]} listens",
                 rf"slot {slot}: pid {new[slot]} takes over from pid {old}",
                 rf"slot {slot} pid {old} left"]
        places = [app.place(pattern) for pattern in order]
        assert places == sorted(places)
    assert app.most_pairs() == 1
    app.reloaded()
    assert {g for _, g in app.settled(3).values()} == {3}


def test_progress_is_shown(app):
    app.ready(2, *SOAK)
    out = app.reloaded()
    for pattern in [r"^slot 1: pid \d+ started$", r"^slot 1: pid \d+ is ready$",
                    rf"^slot 1: pid \d+ takes over from pid {app.pids[1]}$",
                    rf"^slot 1: pid {app.pids[1]} left ", rf"^slot 2: pid {app.pids[2]} left "]:
        assert re.search(pattern, out, re.M), pattern


def test_nothing_is_taken_before_it_has_soaked(app):
    app.ready(2, *LONG_SOAK)
    reload = app.verb("reload", "app")
    new = app.started_after(app.pids[1])
    app.run.wait_for(rf"slot 1 pid {new} listens")
    with Asking(app) as asking:
        before = asking.count
        app.run.wait_for(rf"slot 1: pid {new} takes over")
        assert asking.count - before > 20
        app.run.wait_for(rf"^\[1\] first request of {new}")
    assert app.place(rf"^\[1\] first request of {new}") > app.place(rf"slot 1: pid {new} takes over")
    assert reload.over()[0] == 0


def test_soak_is_waited_for(app):
    app.ready(1, *LONG_SOAK)
    began = time.monotonic()
    app.reloaded()
    assert time.monotonic() - began > 1.2


def test_a_binary_changed_on_disk(umbel, tmp_path, app):
    def deploy(binary):
        shutil.copy(binary, tmp_path / "next")
        os.rename(tmp_path / "next", tmp_path / "server")

    deploy(EXAMPLES / "hello")
    app.run = umbel("-n", 2, "--name", "app", *SOAK, "--", tmp_path / "server", app.port)
    app.run.wait_listening(2)
    assert greeting(app.port).startswith("hello from worker ")
    deploy(TESTS / "serve")  # which does not understand a bare port
    app.undone()
    assert greeting(app.port).startswith("hello from worker ")
    deploy(EXAMPLES / "rolling")
    app.reloaded()
    assert {get(app.port) for _ in range(4)} == {b"generation 3, slot 1\n", b"generation 3, slot 2\n"}


def test_a_program_without_a_share(umbel, app):
    app.run = umbel("-n", 2, "--name", "app", "--share", "none", "--min-uptime", "300ms",
                    "--grace", f"{2 * SLOW}s", *SOAK, "--", "node", "timers.js")
    app.run.wait_for(r"\] alive", count=2)
    old = app.run.slots()
    app.reloaded()
    assert {g for _, g in app.settled(2).values()} == {2}
    assert not set(old.values()) & set(app.run.slots().values())


def test_no_worker_at_all(app):
    app.ready(1, *SOAK)
    app.ask("scale", "app", 0)
    wait_until(lambda: not app.status()["workers"], "the worker to leave")
    assert "generation 2 serves" in app.reloaded()
    app.ask("scale", "app", 1)
    assert [g for _, g in app.settled(1).values()] == [2]


# ---- bad code ----

BAD = {
    "does not parse": ("require('http';", "exited with 1, before it was ready", "SyntaxError"),
    "throws at boot": ("throw new Error('no database');", "exited with 1, before it was ready",
                       "no database"),
    "crashes after 0.5 s": (GOOD + "setTimeout(() => { throw new Error('too late'); }, 500);",
                            "exited with 1, after it was ready", "too late"),
    # Node itself stays, too, when its program is over: its channel keeps it alive.
    "never ready": ("console.log('nothing to do');",
                    f"was not ready in {2 * SLOW}.0 s", ""),
    "exits with 0": ("process.exit(0);",
                     r"exited with 0, before it was ready \(umbel is for servers: it never listened\)", ""),
    "is killed": ("process.kill(process.pid, 'SIGKILL');", "was killed by SIGKILL, before it was ready", ""),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_code(app, what):
    text, reason, last_words = BAD[what]
    ready_s = (2 if what == "never ready" else 20) * SLOW
    app.ready(2, *LONG_SOAK, "--ready-timeout", f"{ready_s}s")
    app.deploy(text)
    began = time.monotonic()
    with Asking(app) as asking:
        said = app.undone()
    assert time.monotonic() - began < ready_s + 5 * SLOW
    assert re.match(rf"umbel: reload undone: slot 1: the new worker \(pid \d+\) {reason}\n", said), said
    assert last_words in "".join(re.findall(r"^    .*\n", said, re.M)), said
    assert asking.count and asking.pids <= set(app.pids.values())
    app.run.wait_for(rf"^umbel: reload undone: slot 1: the new worker \(pid \d+\) {reason}$")
    assert not app.run.find("takes over|kept by")
    app.unchanged()
    assert app.status()["generation"] == 1
    app.deploy(GOOD)
    app.reloaded()
    assert {g for _, g in app.settled(2).values()} == {3}


def test_a_program_that_is_gone(app):
    app.ready(2, *SOAK)
    os.unlink(app.directory / "app.js")
    assert "Cannot find module" in app.undone()
    app.unchanged()


@pytest.mark.parametrize("deploy, why", [
    (lambda path: os.unlink(path), "No such file or directory"),
    (lambda path: path.write_text("#!/no/such/interpreter\n"), "could not be executed|No such file"),
    (lambda path: path.chmod(0o600), "Permission denied"),
    (lambda path: path.write_text("#!/bin/sh\nif (\n"), "(?is)exited with 2, before it was ready.*syntax"),
    (lambda path: path.write_text("#!/bin/sh\nexit 0\n"), "exited with 0, before it was ready"),
    (lambda path: path.write_text("#!/bin/sh\nexec sleep 600\n"), "was not ready in"),
], ids=["gone", "no interpreter", "not executable", "does not parse", "exits with 0", "never ready"])
def test_bad_script(umbel, app, tmp_path, deploy, why):
    path = tmp_path / "server"
    path.write_text(f"#!/bin/sh\nexec {TESTS / 'serve'} tcp://:{app.port}\n")
    path.chmod(0o755)
    app.run = umbel("-n", 2, "--name", "app", *SOAK, "--ready-timeout", f"{3 * SLOW}s", "--", path)
    app.pids = app.run.wait_listening(2)
    shutil.copy(path, tmp_path / "new")
    deploy(tmp_path / "new")
    if (tmp_path / "new").exists():
        os.rename(tmp_path / "new", path)
    else:
        os.unlink(path)
    assert re.search(why, app.undone())
    assert app.settled(2) == {slot: (pid, 1) for slot, pid in app.pids.items()}


def test_kept_by_a_slot(app):
    """The first has been replaced when the second fails: it stays."""
    app.ready(3, *SOAK)
    app.deploy(GOOD.replace("VERSION", "2"))
    (app.directory / "broken-2").touch()
    with Asking(app):
        said = app.undone("--env", "MORE=1")
    assert re.search(r"undone: slot 2: the new worker \(pid \d+\) exited with 1, before it was ready; "
                     "kept by slot 1, where the predecessor had left\n", said), said
    now = app.settled(3)
    assert now[1][0] != app.pids[1] and now[1][1] == 2
    assert {slot: now[slot] for slot in (2, 3)} == {slot: (app.pids[slot], 1) for slot in (2, 3)}
    assert app.who(30) == {pid for pid, _ in now.values()}
    os.unlink(app.directory / "broken-2")
    for slot in (1, 2):  # each is followed by its like
        os.kill(now[slot][0], signal.SIGKILL)
        app.run.wait_successor(slot, now[slot][0])
    assert {slot: g for slot, (_, g) in app.settled(3).items()} == {1: 2, 2: 1, 3: 1}
    assert app.of_slot(1)["env"].get("MORE") == "1"
    assert "MORE" not in app.of_slot(2)["env"]


# ---- surge ----


def test_two_at_a_time(app):
    app.ready(4, *SOAK, "--surge", 2)
    app.reloaded()
    assert {g for _, g in app.settled(4).values()} == {2}
    assert app.most_pairs() == 2


def test_two_at_a_time_undone(app):
    app.ready(4, *LONG_SOAK, "--surge", 2)
    (app.directory / "broken-2").touch()
    assert "kept by" not in app.undone()
    app.unchanged()


def test_all_at_a_time(app):
    app.ready(3, *SOAK, "--surge", "max")
    app.reloaded()
    now = app.settled(3)
    assert {g for _, g in now.values()} == {2}
    turns = [app.place(rf"slot {slot}: pid {now[slot][0]} takes over") for slot in now]
    assert min(turns) > max(app.place(rf"pid {pid} listens on") for pid, _ in now.values())
    assert app.most_pairs() == 3


def test_all_or_nothing(app):
    """The last one fails long after the others have soaked: nobody has left for them."""
    app.ready(3, *SOAK, "--surge", "max", "--ready-timeout", f"{3 * SLOW}s")
    app.deploy(GOOD.replace("server.listen(", "slot === '3' || server.listen("))
    with Asking(app) as asking:
        said = app.undone()
    assert re.search(r"slot 3: the new worker \(pid \d+\) was not ready in", said) and "kept" not in said
    assert asking.pids == set(app.pids.values())
    app.unchanged()
    assert not app.run.find("takes over")
    assert not [m for m in app.run.find(r"slot \d pid (\d+) left") if int(m[1]) in app.pids.values()]


# ---- canary and hold ----


def hold(app, *more):
    """(the command, the canary of slot 1), during the hold."""
    reload = app.verb("reload", "app", *(more or ("--canary", 1)))
    wait_until(lambda: app.phase() == "hold", "the hold")
    return reload, app.started_after(app.pids[1])


def handed(app, pid):
    return next(w["connections"]["handed"] for w in app.status()["workers"] if w["pid"] == pid)


def test_canary(app):
    app.ready(2, *SOAK)
    reload, canary = hold(app)
    before = handed(app, app.pids[1])
    assert app.who(20) == {canary, app.pids[2]}
    waiting = {w["pid"]: w for w in app.status()["workers"]}[app.pids[1]]
    assert waiting["state"] == "ready" and waiting["connections"]["handed"] == before
    assert app.status()["generation"] == 1
    assert reload.poll() is None
    status, out, err = app.reload("--continue")  # goes on until it is over
    assert (status, err) == (0, "") and "reload: generation 2 serves" in out
    assert reload.over()[0] == 0
    now = app.settled(2)
    assert now[1] == (canary, 2) and now[2][1] == 2 and now[2][0] != app.pids[2]


def test_canary_undone(app):
    app.ready(2, *SOAK)
    reload, canary = hold(app)
    assert app.who(10) == {canary, app.pids[2]}
    assert app.reload("--undo")[0] == 0
    assert app.status()["reload"] is None  # it has waited for it
    status, _, err = reload.over()
    assert (status, err) == (4, "umbel: reload undone: undone by request\n")
    app.unchanged()
    app.run.wait_for(rf"slot 1 pid {canary} left")


def test_bad_code_after_the_hold(app):
    app.ready(2, *SOAK)
    reload, canary = hold(app)
    (app.directory / "broken-2").touch()
    status, _, err = app.reload("--continue")
    assert status == reload.over()[0] == 4 and "kept by slot 1" in err
    assert app.settled(2) == {1: (canary, 2), 2: (app.pids[2], 1)}


def test_two_canaries(app):
    app.ready(3, *SOAK)
    reload, _ = hold(app, "--canary", 2)
    serving = app.who(30)
    assert len(serving) == 3 and serving & set(app.pids.values()) == {app.pids[3]}
    app.reload("--continue")
    assert reload.over()[0] == 0
    assert {g for _, g in app.settled(3).values()} == {2}


@pytest.mark.parametrize("more", [(), ("--canary", 1)], ids=["hold", "canary and hold"])
def test_the_hold_is_over(app, more):
    app.ready(2, *SOAK)
    reload, canary = hold(app, *more, "--hold", f"{2 * SLOW}s")
    held = time.monotonic()
    assert app.who(10) == {canary, app.pids[2]}
    assert 0 < app.status()["reload"]["hold_left_ms"] <= 2000 * SLOW
    status, out, _ = reload.over()
    assert status == 0 and time.monotonic() - held > SLOW
    assert "the hold is over" in out
    assert app.settled(2)[1] == (canary, 2)


@pytest.mark.parametrize("crash", [False, True], ids=["killed", "crashed"])
def test_the_canary_dies(app, crash):
    app.ready(2, *SOAK)
    reload, canary = hold(app)
    if crash:
        with pytest.raises((OSError, http.client.HTTPException)):
            for _ in range(2):  # one of them is the canary's
                app.get("/crash")
    else:
        os.kill(canary, signal.SIGKILL)
    status, _, err = reload.over()
    assert status == 4
    assert re.search(rf"slot 1: the new worker \(pid {canary}\) "
                     + ("exited with 1" if crash else "was killed by SIGKILL"), err), err
    app.unchanged()


def test_the_one_who_waits_dies(app):
    app.ready(2, *SOAK)
    reload, canary = hold(app)
    os.kill(app.pids[1], signal.SIGKILL)
    app.run.wait_for(rf"pid {app.pids[1]} killed by SIGKILL")
    assert app.phase() == "hold"
    assert app.who(10) == {canary, app.pids[2]}
    app.reload("--undo")
    status, _, err = reload.over()
    assert status == 4 and "undone by request; kept by slot 1" in err
    assert app.settled(2) == {1: (canary, 2), 2: (app.pids[2], 1)}


def test_undo_while_it_rolls(app):
    app.ready(2, *LONG_SOAK)
    reload = app.verb("reload", "app")
    new = app.started_after(app.pids[1])
    app.run.wait_for(rf"pid {new} listens")
    assert app.phase() == "rolling"
    status, _, err = app.reload("--continue")
    assert status == 1 and "hold" in err
    assert app.reload("--undo")[0] == 0
    assert reload.over()[0] == 4
    app.unchanged()


def test_undo_when_one_is_replaced(app):
    app.ready(2, *LONG_SOAK)
    reload = app.verb("reload", "app")
    app.started_after(app.pids[2])
    app.reload("--undo")
    status, _, err = reload.over()
    assert status == 4 and "undone by request; kept by slot 1" in err
    now = app.settled(2)
    assert now[1][1] == 2 and now[2] == (app.pids[2], 1)


# ---- one at a time ----


def test_a_second_one_waits(app):
    app.ready(2, *LONG_SOAK)
    first = app.verb("reload", "app", "--env", "MORE=1")
    app.started_after(app.pids[1])
    second = app.verb("reload", "app", "--env", "MORE=2")
    assert second.stdout.readline() == "another reload is running: this one waits for it\n"
    assert first.poll() is None and app.status()["reload"]["generation"] == 2
    assert first.over()[0] == 0
    assert second.over()[0] == 0
    assert {g for _, g in app.settled(2).values()} == {3}
    assert app.get()["env"]["MORE"] == "2"
    assert len(app.run.find(r"^umbel: reload: generation \d serves")) == 2


def test_a_second_one_follows_one_that_is_undone(app):
    app.ready(2, *SOAK)
    first, _ = hold(app)
    second = app.verb("reload", "app")
    second.stdout.readline()
    app.reload("--undo")
    assert first.over()[0] == 4
    assert second.over()[0] == 0
    assert {g for _, g in app.settled(2).values()} == {3}


def test_one_that_waits_is_given_up(app):
    app.ready(2, *SOAK)
    first, _ = hold(app)
    second = app.verb("reload", "app")
    second.stdout.readline()
    second.kill()
    second.communicate()
    app.ask("status", "app")  # answered after the end of the other client was seen
    app.reload("--continue")
    assert first.over()[0] == 0
    assert app.status()["reload"] is None and app.status()["generation"] == 2


def test_hangup(app):
    app.ready(2, *SOAK)
    app.run.send(signal.SIGHUP)
    app.run.wait_for("^umbel: reload: generation 2 serves")
    now = app.settled(2)
    assert {g for _, g in now.values()} == {2} and not {p for p, _ in now.values()} & set(app.pids.values())


def test_hangup_is_remembered_once(app):
    app.ready(2, *LONG_SOAK)
    reload = app.verb("reload", "app")
    app.started_after(app.pids[1])
    for _ in range(3):
        deliver(app, signal.SIGHUP)
    assert reload.over()[0] == 0
    app.run.wait_for("^umbel: reload: generation 3 serves", timeout=20)
    assert app.status()["reload"] is None and app.status()["generation"] == 3
    assert {g for _, g in app.settled(2).values()} == {3}


# ---- environment ----


def test_env(app, environment):
    environment["OF_THE_START"] = "there"
    app.ready(2, *SOAK, "--env", "A=1", "--env", "B=1")
    app.reloaded("--env", "A=2", "--env", "C=x=y", "--env", "D=")

    def check():
        env = app.of_slot(1)["env"]
        assert (env["A"], env["B"], env["C"], env["D"]) == ("2", "1", "x=y", "")
        assert env["OF_THE_START"] == "there"

    check()
    pid = app.settled(2)[1][0]
    os.kill(pid, signal.SIGKILL)
    app.run.wait_successor(1, pid)
    check()
    app.reloaded()
    check()


def test_update_env(app, environment):
    """In the place of everything that was said before, also by --env."""
    environment["OF_THE_START"] = "there"
    app.ready(1, *SOAK, "--env", "A=1")
    app.reloaded("--env", "B=1")
    theirs = {k: v for k, v in environment.items() if k != "OF_THE_START"} | {
        "OF_THE_CALLER": "there", "C": "1", "NOTIFY_SOCKET": "/x", "LISTEN_FDS": "1", "NODE_CHANNEL_FD": "9"}
    mark = ("--env", f"UMBEL_TEST={environment['UMBEL_TEST']}")  # for the harness: it finds who is left
    app.reloaded("--update-env", "--env", "C=2", *mark, env=theirs)

    def check(answer, generation):
        env = answer["env"]
        assert (env["OF_THE_CALLER"], env["C"], env["UMBEL_GENERATION"]) == ("there", "2", generation)
        assert not {"A", "B", "OF_THE_START", "LISTEN_FDS", "UMBEL_HOME", "NODE_CHANNEL_FD"} & set(env)
        assert env["NOTIFY_SOCKET"].startswith("@")  # ours, not the caller's

    check(app.get(), "3")
    app.reloaded()
    check(app.get(), "4")


def test_environment_of_one_undone(app, environment):
    app.ready(2, *SOAK, "--env", "A=1")
    app.undone("--env", "MODE=crash", "--env", "A=2")
    app.unchanged()

    def check(generation):
        answer = app.of_slot(1)
        assert answer["env"]["A"] == "1" and "MODE" not in answer["env"]
        assert answer["generation"] == str(generation)

    os.kill(app.pids[1], signal.SIGKILL)
    app.run.wait_successor(1, app.pids[1])
    check(1)
    app.reloaded()
    check(3)


def test_undone_while_one_is_starting(app):
    """A slot whose worker is on its way when the reload begins is not left with the one that failed."""
    app.ready(2, *SOAK)
    (app.directory / "slow-1").touch()
    os.kill(app.pids[1], signal.SIGKILL)
    app.started_after(app.pids[1])
    assert "told to crash" in app.undone("--env", "MODE=crash")
    now = app.settled(2)
    assert now[2] == (app.pids[2], 1)
    assert now[1][1] == 1
    assert "MODE" not in app.of_slot(1)["env"]


# ---- slots without a worker ----


def test_a_failed_slot_is_tried_again(app):
    (app.directory / "broken-2").touch()
    app.start(2, *SOAK, "--max-failures", 2)
    app.run.wait_for("^umbel: slot 2 failed")
    assert app.status()["slots"][1]["state"] == "failed"
    os.unlink(app.directory / "broken-2")
    app.reloaded()
    assert {g for _, g in app.settled(2).values()} == {2}
    assert [s["state"] for s in app.status()["slots"]] == ["serving", "serving"]


def test_a_backoff_ends(app):
    (app.directory / "broken-2").touch()
    app.start(2, *SOAK, "--max-failures", 0)
    app.run.wait_for(r"slot 2: 5 crashes in a row, next start in \d\.\d s", timeout=20)
    os.unlink(app.directory / "broken-2")
    app.reloaded()
    assert {g for _, g in app.settled(2).values()} == {2}


def test_a_failed_slot_after_one_undone(app):
    """It had no worker to keep: what is started there next is the old generation again."""
    (app.directory / "broken-1").touch()
    app.start(2, *SOAK, "--max-failures", 2)
    app.run.wait_for("^umbel: slot 1 failed")
    os.unlink(app.directory / "broken-1")
    app.undone("--env", "MODE=crash")
    app.ask("scale", "app", 2)  # tries failed slots again
    now = app.settled(2)
    assert {g for _, g in now.values()} == {1}
    assert "MODE" not in app.of_slot(1)["env"]


# ---- scale and stop ----


def test_more_during_a_reload(app):
    app.ready(2, *SOAK)
    reload = app.verb("reload", "app")
    app.started_after(app.pids[1])
    assert app.ask("scale", "app", 4)[0] == 0
    assert reload.over()[0] == 0
    now = app.settled(4)
    assert {g for _, g in now.values()} == {2}
    assert app.who(40) == {pid for pid, _ in now.values()}


def test_fewer_during_a_reload(app):
    app.ready(3, *LONG_SOAK)
    reload = app.verb("reload", "app")
    new = app.started_after(app.pids[1])
    assert app.ask("scale", "app", 1)[0] == 0
    assert reload.over()[0] == 0
    assert app.settled(1) == {1: (new, 2)}


def test_the_slot_that_is_being_replaced_is_scaled_away(app):
    app.ready(2, *LONG_SOAK)
    reload = app.verb("reload", "app")
    new = app.started_after(app.pids[2])
    assert app.ask("scale", "app", 1)[0] == 0
    assert reload.over()[0] == 0
    assert app.settled(1)[1][1] == 2
    for pid in (new, app.pids[2]):
        app.run.wait_for(rf"slot 2 pid {pid} left")


def test_a_reload_right_after_scale(app):
    app.ready(1, *SOAK)
    app.ask("scale", "app", 4)
    app.reloaded()
    assert {g for _, g in app.settled(4).values()} == {2}


@pytest.mark.parametrize("more", [(), ("--canary", 1)], ids=["rolling", "hold"])
def test_stop_during_a_reload(app, more):
    app.ready(2, *(SOAK if more else LONG_SOAK))
    if more:
        reload, _ = hold(app)
    else:
        reload = app.verb("reload", "app")
        app.started_after(app.pids[1])
    assert app.run.stop() == 0
    status, _, err = reload.over()
    assert (status, err) == (4, "umbel: reload undone: the cluster is stopping\n")
    assert app.lines()[-1] == "umbel: stopped"
    assert is_refused(app.port)


# ---- bad words ----


def test_bad_words(app):
    app.ready(1, *SOAK)
    for more, status, word in [
            ((), 2, "reload"), (("other",), 3, "other"), (("no/name",), 2, "no/name"),
            (("app", "--canary", "0"), 2, "canary"), (("app", "--canary", "x"), 2, "canary"),
            (("app", "--canary", "1025"), 2, "canary"), (("app", "--canary"), 2, "canary"),
            (("app", "--hold", "soon"), 2, "soon"), (("app", "--env", "NOVALUE"), 2, "NOVALUE"),
            (("app", "--env", "=x"), 2, "=x"), (("app", "--nonsense"), 2, "--nonsense"),
            (("app", "--continue", "--undo"), 2, "alone"),
            (("app", "--undo", "--canary", "1"), 2, "alone"), (("app", "x"), 2, "x"),
            (("app", "--continue"), 1, "no reload is running"),
            (("app", "--undo"), 1, "no reload is running")]:
        got, out, err = app.ask("reload", *more)
        assert (got, out) == (status, ""), (more, err)
        assert err.startswith("umbel: ") and len(err.splitlines()) == 1 and word in err, (more, err)
    app.unchanged()


def test_bad_requests(app):
    """What the socket is told by others than the command."""
    app.ready(1, *SOAK)
    client = Client(app.run)
    for bad in [{"canary": -1}, {"canary": "x"}, {"canary": 2000}, {"hold_ms": -1}, {"hold_ms": 1.5},
                {"env": "A=1"}, {"env": [1]}, {"env": ["A"]}, {"env": ["=x"]}, {"environment": {"A": "1"}},
                {"env": ["A\0B=1"]}]:
        answer = client.ask(json.dumps({"request": "reload"} | bad).encode())
        assert answer["ok"] is False and answer["error"], bad
    app.unchanged()
