"""As process 1, as in a container without an init; and leaving in two steps, as Kubernetes wants it."""
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from c_programs import TESTS, Talk
from control import exits, status, verb
from harness import SLOW, get, is_refused, wait_until
from test_leaving import database, leaving  # noqa: F401

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture(scope="session")
def namespace():
    """The words that make what follows process 1."""
    for words in (NAMESPACE, [*NAMESPACE, "--map-root-user"]):
        done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return words
    pytest.skip(f"no pid namespace for us: {done.stderr.strip()}")


def children(pid):
    return [int(word) for task in Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()]


def below(pid):
    """All processes that pid has started or inherited, zombies too."""
    found = children(pid)
    for child in list(found):
        try:
            found += below(child)
        except FileNotFoundError:  # over meanwhile
            pass
    return found


@pytest.fixture
def first(umbel, namespace):
    """first(...) is umbel(...) as process 1. primary: its pid as seen from here."""
    runs = []

    def start(*args):
        run = umbel(*args, before=namespace)
        runs.append(run)
        run.wait_for("^umbel: .* workers?: ")
        (run.primary,) = children(run.pid)
        return run

    yield start
    for run in runs:  # unshare does not pass signals on
        if run.process.poll() is None:
            os.kill(run.primary, signal.SIGTERM)
            run.wait()


def stop(run, number=signal.SIGTERM):
    os.kill(run.primary, number)
    return run.wait()


def say(port, line):
    s = socket.create_connection(("127.0.0.1", port), 60 * SLOW)
    s.sendall(f"{line}\n".encode())
    return s


def answer(s):
    with s, s.makefile("rb") as file:
        return file.read()


def test_strangers_are_reaped(first, port):
    run = first("-n", 2, "--name", "app", "--", TESTS / "orphans", port)
    run.wait_listening(2)
    assert status(run)["pid"] == 1
    assert answer(say(port, "orphans 60")).endswith(b"done\n")
    assert answer(say(port, "orphans 60")).endswith(b"done\n")
    wait_until(lambda: len(below(run.primary)) == 2, "all orphans to be reaped")
    assert run.slots() == run.wait_listening(2) and not run.find("killed|exited|left")
    assert stop(run) == 0


def test_a_worker_that_dies_among_strangers(first, port):
    """Its end is told as ever, and does not hide those behind it."""
    run = first("-n", 2, "--name", "app", "--", TESTS / "orphans", port)
    pids = run.wait_listening(2)
    waiting = say(port, "orphans 60")
    os.kill(children(run.primary)[0], signal.SIGKILL)
    run.wait_for("killed by SIGKILL after")
    wait_until(lambda: set(run.slots(listening=True)) == {1, 2} and len(below(run.primary)) == 2,
               "all orphans to be reaped")
    assert len({*run.slots().values(), *pids.values()}) == 3
    assert len(exits(run)) == 1 and exits(run)[0]["signal"] == "KILL"
    waiting.close()
    assert stop(run) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_drains(first, port, number):
    run = first("-n", 2, "--name", "app", "--", "node", "app.js", port)
    run.wait_listening(2)
    with socket.create_connection(("127.0.0.1", port), 20 * SLOW) as s, s.makefile("rb") as file:
        s.sendall(b"GET /slow?ms=1500 HTTP/1.0\r\n\r\n")
        run.wait_for(r"^\[\d\] slow begins")
        os.kill(run.primary, number)
        assert file.read().startswith(b"HTTP/1.1 200")
    assert run.wait() == 0
    assert len(run.find("left after")) == 2


def test_its_exit_status(first, port):
    run = first("-n", 1, "--max-failures", 1, "--", "node", "life.js", port, "throws")
    assert run.wait() == 1


def test_signals_without_a_meaning_are_passed_on(first, port, tmp_path):
    script = tmp_path / "told.js"
    script.write_text("for (const s of ['SIGALRM', 'SIGPWR']) process.on(s, () => console.log(s));"
                      f"require('http').createServer().listen({port});")
    run = first("-n", 2, "--", "node", script)
    run.wait_listening(2)
    for name in ("SIGALRM", "SIGPWR"):
        os.kill(run.primary, signal.Signals[name])
        run.wait_for(rf"^\[1\] {name}$")
        run.wait_for(rf"^\[2\] {name}$")
    assert stop(run) == 0


# ---- the lame duck ----

def test_lame_duck(umbel, port, database):
    run = leaving(umbel, port, database, options=["--lame-duck", "3s"])
    assert status(run)["ready"] is True
    begin = time.monotonic()
    run.send()
    run.wait_for("^umbel: lame duck: ")
    served = set()
    while time.monotonic() - begin < 2:
        now = status(run)
        assert (now["ready"], now["state"]) == (False, "lame duck")
        assert {w["state"] for w in now["workers"]} == {"ready"}
        served.add(int(get(port)))
    run.wait_for("^umbel: stopping 2 workers$")
    assert served == set(run.pids.values())
    assert 2.9 < time.monotonic() - begin < 3 + 1 * SLOW
    assert run.wait() == 0
    assert is_refused(port)


def test_lame_duck_by_the_verb(umbel, port):
    run = umbel("-n", 1, "--name", "app", "--lame-duck", "1s", "--", TESTS / "serve", f"tcp://:{port}")
    run.wait_listening(1)
    begin = time.monotonic()
    assert verb(run, "stop", "app").returncode == 0
    assert time.monotonic() - begin > 0.9
    assert run.wait() == 0 and run.find("^umbel: lame duck: ")


def test_a_second_signal_ends_the_lame_duck(umbel, port):
    run = umbel("-n", 1, "--name", "app", "--lame-duck", "1m", "--", TESTS / "serve", f"tcp://:{port}")
    run.wait_listening(1)
    talk = Talk(port)
    run.send()
    run.wait_for("^umbel: lame duck: ")
    run.send(signal.SIGINT)
    run.wait_for("^umbel: stopping")  # the second is the first to stop it: it drains
    assert talk.ask("x") == "done\n"
    assert run.wait(5) == 0
    assert run.find("left after")


def test_three_signals_kill(umbel, port):
    run = umbel("-n", 1, "--name", "app", "--lame-duck", "1m", "--", TESTS / "serve", f"tcp://:{port}")
    run.wait_listening(1)
    talk = Talk(port)
    for number, line in ((signal.SIGTERM, "^umbel: lame duck"), (signal.SIGINT, "^umbel: stopping")):
        run.send(number)
        run.wait_for(line)
    begin = time.monotonic()
    assert run.stop() == 0
    assert time.monotonic() - begin < 2 * SLOW
    assert run.find("killed by SIGKILL")
    talk.socket.close()


def test_lame_duck_as_process_one(first, port):
    run = first("-n", 1, "--name", "app", "--lame-duck", "1s", "--", TESTS / "serve", f"tcp://:{port}")
    run.wait_listening(1)
    os.kill(run.primary, signal.SIGTERM)
    run.wait_for("^umbel: lame duck: ")
    assert Talk(port).ask("x") == "done\n"
    assert run.wait() == 0
