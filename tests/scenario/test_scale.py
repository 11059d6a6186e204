"""More workers, fewer, none: by the verb and by signals."""
import os
import signal

import pytest
from c_programs import TESTS, Talk
from control import Events, Held, exits, slot_states, status, verb
from harness import is_refused, wait_until, who
from test_leaving import database, leaving  # noqa: F401


@pytest.fixture
def app(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--", "node", "app.js", port)
    run.pids = run.wait_listening(2)
    run.port = port
    return run


def scale(run, word, now, before):
    done = verb(run, "scale", "app", word)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"app: {now} worker{'' if now == 1 else 's'}, {before} before\n"


def check_workers(run, slots):
    """These slots and no others have a worker, and all of those answer."""
    pids = wait_until(lambda: run.slots() == (p := run.slots(listening=True)) and set(p) == slots and p,
                      f"workers in {slots}")
    assert set(who(run.port, 4 * len(slots))) == set(pids.values())
    return pids


def test_numbers(app):
    scale(app, "4", 4, 2)
    pids = check_workers(app, {1, 2, 3, 4})
    assert {k: v for k, v in pids.items() if k < 3} == app.pids  # nobody is disturbed
    scale(app, "3", 3, 4)
    assert check_workers(app, {1, 2, 3}) == {k: v for k, v in pids.items() if k < 4}
    scale(app, "+2", 5, 3)
    check_workers(app, {1, 2, 3, 4, 5})
    scale(app, "-4", 1, 5)
    assert check_workers(app, {1}) == {1: pids[1]}
    scale(app, "1", 1, 1)
    scale(app, "+0", 1, 1)
    assert check_workers(app, {1}) == {1: pids[1]}
    assert not app.find("killed|exited")
    assert all(r["asked"] for r in exits(app))


def test_max(umbel, port):
    cpus = len(os.sched_getaffinity(0))
    run = umbel("-n", cpus + 1, "--name", "app", "--", TESTS / "serve", f"tcp://:{port}")
    run.wait_listening(cpus + 1)
    done = verb(run, "scale", "app", "max")
    most = int(done.stdout.split()[1])
    assert 1 <= most <= cpus and done.stdout.endswith(f"{cpus + 1} before\n")
    run.wait_listening(most)


def test_none_and_back(app):
    """As Node does without workers: connections are refused. The primary goes on."""
    scale(app, "0", 0, 2)
    wait_until(lambda: not app.slots(), "all workers to leave")
    wait_until(lambda: is_refused(app.port), "the port to be closed")
    now = status(app)
    assert (now["state"], now["ready"], now["workers"]) == ("empty", False, [])
    assert set(slot_states(app).values()) <= {"empty"}
    assert app.process.poll() is None
    scale(app, "+1", 1, 0)
    check_workers(app, {1})
    scale(app, "-1", 0, 1)
    wait_until(lambda: not app.slots(), "the worker to leave")
    assert app.stop() == 0


def test_back_before_they_are_gone(app):
    """A slot that is scaled away and wanted again at once has a worker in the end."""
    for word in ("0", "2", "1", "3", "0", "2"):
        assert verb(app, "scale", "app", word).returncode == 0
    check_workers(app, {1, 2})
    wait_until(lambda: len(status(app)["workers"]) == 2, "all others to leave")
    assert slot_states(app)[1] == slot_states(app)[2] == "serving"


@pytest.mark.parametrize("word", ["three", "", "+", "-", "1.5", "1x", "+1x", "--1", " 1", "1025", "max1",
                                  "99999999999999999999", "4294967297"])
def test_bad_words(app, word):
    done = verb(app, "scale", "app", word)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("umbel: ") and word in done.stderr
    assert app.slots() == app.pids


@pytest.mark.parametrize("word", ["-3", "+1023"])
def test_too_few_and_too_many(app, word):
    done = verb(app, "scale", "app", word)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "1024" in done.stderr
    assert app.slots() == app.pids and status(app)["state"] == "ready"


def test_no_such_app(app):
    assert verb(app, "scale", "other", "1").returncode == 3


def test_signals(app):
    app.send(signal.SIGTTIN)
    app.wait_for("^umbel: scale: 3 workers, 2 before$")
    check_workers(app, {1, 2, 3})
    app.send(signal.SIGTTOU)
    app.wait_for("^umbel: scale: 2 workers, 3 before$")
    assert check_workers(app, {1, 2}) == app.pids
    app.send(signal.SIGTTOU)
    app.wait_for("^umbel: scale: 1 worker, 2 before$")
    check_workers(app, {1})
    app.send(signal.SIGTTOU)
    app.wait_for("^umbel: scale: 1 worker: one is the fewest by a signal$")
    assert check_workers(app, {1}) == {1: app.pids[1]}


def test_the_verb_drains(umbel, port, database):
    run = leaving(umbel, port, database)
    held = [Held(port), Held(port)]
    run.wait_for(r"^\[\d\] request$", count=2)
    assert verb(run, "scale", "app", "1").returncode == 0
    wait_until(lambda: slot_states(run)[2] == "retired", "slot 2 to drain")
    assert set(who(port, 3)) == {run.pids[1]}
    assert {int(request.finish()) for request in held} == set(run.pids.values())
    run.wait_for(rf"^umbel: slot 2 pid {run.pids[2]} left after")
    assert run.slots() == {1: run.pids[1]}


def test_a_signal_drains(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--", TESTS / "serve", f"tcp://:{port}")
    pids = run.wait_listening(2)
    events = Events(run)
    talks = [Talk(port), Talk(port)]
    run.send(signal.SIGTTOU)
    wait_until(lambda: slot_states(run)[2] == "retired", "slot 2 to drain")
    assert {t.pid for t in talks} == set(pids.values())
    assert [t.ask("x") for t in talks] == ["done\n"] * 2
    ended = events.wait_for("exit")
    events.close()
    assert (ended["slot"], ended["code"], ended["asked"]) == (2, 0, True)
