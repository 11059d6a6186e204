"""Spares: booted ahead, held before they listen, and in the place of a dead worker at once."""
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from c_programs import TESTS, greeting, program  # noqa: F401
from control import status, verb, why
from harness import SLOW, UMBEL, get, stat, wait_until

PYTHON3 = "/usr/bin/python3"

# An app with a path for each question, on one port or two; `first` runs before it listens.
NODE = """'use strict';
%(first)s
const answer = (request, response) => response.end(request.url === '/env' ? JSON.stringify(process.env)
	: request.url === '/slot' ? `${process.pid} ${process.env.UMBEL_SLOT}` : `${process.pid}`);
for (const port of process.argv.slice(2))
	require('http').createServer(answer).listen(Number(port), () => %(then)s);
"""

PYTHON = """import http.server, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d" % os.getpid())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""

LEAVES = """import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"STOPPING=1", b"\\0" + os.environ["NOTIFY_SOCKET"][1:].encode())
time.sleep(1000)
"""

DATAGRAMS = """import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", int(sys.argv[1])))
while True:
    _, client = s.recvfrom(100)
    s.sendto(b"%d" % os.getpid(), client)
"""


def look(run):
    """Its status; None: it has only just been started."""
    done = verb(run, "status", "app", "--json")
    return json.loads(done.stdout) if done.returncode == 0 else None


def held(run, count, generation=None, timeout=20):
    """The pids of that many spares, once all of them are held."""
    def all_held():
        spares = (look(run) or {"spares": []})["spares"]
        there = {s["pid"] for s in spares if s["state"] == "held" and generation in (None, s["generation"])}
        return len(there) == count == len(spares) and there
    return wait_until(all_held, f"{count} spares to be held", timeout)


def serving(run, timeout=20):
    """{slot: pid}, once every worker is ready."""
    def all_ready():
        now = look(run)
        if not now:
            return None
        workers = {w["slot"]: w["pid"] for w in now["workers"] if w["state"] == "ready"}
        return now["state"] == "ready" and len(workers) == len(now["workers"]) and workers
    return wait_until(all_ready, "the workers to be ready", timeout)


def steps_in(run, slot, spares, timeout=20):
    """The pid of the spare that has become ready in that slot."""
    return wait_until(lambda: (pid := serving(run)[slot]) in spares and pid, f"a spare in slot {slot}", timeout)


def is_alive(pid):
    try:
        return stat(pid)[0] != "Z"
    except OSError:
        return False


def wait_dead(*pids):
    wait_until(lambda: not any(is_alive(pid) for pid in pids), f"the end of {pids}")


def environment_of(pid):
    return dict(e.split("=", 1) for e in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in e)


def write(path, first="", then="0"):
    path.write_text(NODE % {"first": first, "then": then})
    return path


@pytest.fixture
def app(umbel, port):
    """app(*options, kind="node") starts it with two workers and two spares; they are there then."""
    def start(*options, kind="node", count=2, workers=2):
        command = {"node": ["node", "app.js", port], "c": [TESTS / "spares", f"tcp://:{port}"],
                   "python": [PYTHON3, "-c", PYTHON, port], "plain": [TESTS / "bindings", "plain", port],
                   "datagrams": [PYTHON3, "-c", DATAGRAMS, port]}[kind]
        run = umbel("--name", "app", "-n", workers, "--soak", "100ms", "--spares", count, *options, "--", *command)
        run.first = serving(run)
        run.spares = held(run, count)
        return run
    return start


def datagram(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(10 * SLOW)
        s.connect(("127.0.0.1", port))
        s.send(b"?")
        return int(s.recv(100))


def ask(kind, port):
    """Who answers, and its slot if it says it."""
    if kind == "datagrams":
        return datagram(port), None
    if kind != "c":
        return int(get(port)), None
    pid, slot = greeting(port).split()[:2]
    return int(pid), int(slot)


@pytest.mark.parametrize("kind", ["node", "c", "python", "plain", "datagrams"])
def test_steps_in(app, port, kind):
    run = app(*(["--share-udp"] if kind == "datagrams" else []), kind=kind)
    assert run.spares.isdisjoint(run.first.values())
    # Some are steered at random: so many that both are asked. No spare answers.
    assert {ask(kind, port)[0] for _ in range(30)} == set(run.first.values())
    os.kill(run.first[1], signal.SIGKILL)
    pid = steps_in(run, 1, run.spares)
    answers = {ask(kind, port) for _ in range(30)}
    assert {a[0] for a in answers} == {pid, run.first[2]}
    if kind == "c":
        assert (pid, 1) in answers, "it knows its slot"
    now = held(run, 2)  # there are two again
    assert len(now & run.spares) == 1 and pid not in now
    assert run.find(rf"^umbel: slot 1: pid {pid} steps in$")
    found = status(run)
    assert found["slots"][0]["restarts"] == 1 and len(found["workers"]) == 2
    assert found["generation"] == 1 and found["state"] == "ready"


@pytest.mark.parametrize("kind", ["c", "plain"])
def test_one_after_the_other(app, port, kind):
    """Each crash takes the next spare, at once: nobody waits for a boot."""
    run = app(kind=kind, count=3, workers=1)
    last = run.first[1]
    for _ in range(3):
        os.kill(last, signal.SIGKILL)
        wait_until(lambda: not is_alive(last), "its end")
        found, _ = ask(kind, port)
        assert found in run.spares and found != last
        last = found
    held(run, 3)


def test_environment(app):
    """A spare has no slot in its environment, whatever ours says; it never learns it there."""
    run = app("--env", "X=1", workers=1, count=1)
    (pid,) = run.spares
    assert environment_of(run.first[1])["NODE_APP_INSTANCE"] == "0"
    spare = environment_of(pid)
    assert not {"UMBEL_SLOT", "NODE_APP_INSTANCE"} & set(spare)
    assert spare["UMBEL_GENERATION"] == "1" and spare["X"] == "1" and int(spare["UMBEL_WORKER"]) > 1


def test_is_shown(app):
    run = app(workers=1, count=1)
    (pid,) = run.spares
    spares = status(run)["spares"]
    assert [s["pid"] for s in spares] == [pid] and spares[0]["kind"] == "node"
    assert " spare" in verb(run, "status", "app").stdout


@pytest.mark.parametrize("kind", ["node", "plain"])
def test_two_listeners(umbel, tmp_path, port, other_port, kind):
    """All that it has asked for is answered."""
    command = ["node", write(tmp_path / "two.js")] if kind == "node" else [TESTS / "bindings", "two"]
    run = umbel("--name", "app", "-n", 1, "--spares", 1, "--", *command, port, other_port)
    first, spares = serving(run)[1], held(run, 1)
    os.kill(first, signal.SIGKILL)
    pid = steps_in(run, 1, spares)
    wait_until(lambda: {int(get(port)), int(get(other_port))} == {pid}, "it to answer at both")


@pytest.mark.parametrize("before", [False, True], ids=["then", "before"])
def test_wait_ready(umbel, tmp_path, port, before):
    """It says 'ready' as its listen() asks it to, or before; ready it is once it has a slot."""
    ready = "process.send('ready')"
    path = write(tmp_path / "ready.js", *([f"{ready};"] if before else ["", ready]))
    run = umbel("--name", "app", "-n", 1, "--spares", 1, "--wait-ready", "--", "node", path, port)
    first, spares = serving(run)[1], held(run, 1)
    os.kill(first, signal.SIGKILL)
    pid = steps_in(run, 1, spares)
    wait_until(lambda: int(get(port)) == pid, "it to answer")


@pytest.mark.parametrize("kind", ["node", "plain"])
def test_stopped_meanwhile(app, port, kind):
    run = app(kind=kind, workers=1, count=1)
    (spare,) = run.spares
    os.kill(spare, signal.SIGSTOP)
    os.kill(run.first[1], signal.SIGKILL)
    wait_until(lambda: not is_alive(run.first[1]), "its end")
    assert ask(kind, port)[0] == spare


def test_dies(app):
    """Its end is nobody's failure, and another one follows."""
    run = app(kind="c", count=1)
    (pid,) = run.spares
    os.kill(pid, signal.SIGKILL)
    (other,) = wait_until(lambda: (now := held(run, 1)) != {pid} and now, "another spare")
    assert other != pid and serving(run) == run.first
    assert run.find(rf"^umbel: spare pid {pid} was killed by SIGKILL; the next one is started in 0\.2 s$")
    assert [r for r in why(run) if r.get("what") == "spare" and str(pid) in r["text"]]
    assert not [r for r in why(run) if r["event"] == "failed"]
    assert all(s["restarts"] == s["crashes"] == 0 for s in status(run)["slots"])
    assert run.stop() == 0


def without_a_slot(command, port):
    """A server that, as a spare, does that instead."""
    return "sh", "-c", f'[ "$UMBEL_SLOT" ] || {command}; exec "$@"', "-", TESTS / "bindings", "plain", port


def test_dies_in_its_boot(umbel, port):
    """Again and again: not in a spin, and who serves does not care."""
    run = umbel("--name", "app", "-n", 1, "--spares", 1, "--", *without_a_slot("exit 3", port))
    first = serving(run)
    run.wait_for(r"^umbel: spare pid \d+ exited with 3; the next one is started in ", 30, 6)
    waits = [float(m[1]) for m in run.find(r"the next one is started in (\S+) s$")]
    assert waits[0] == 0.2 and waits[5] >= 1.2
    assert serving(run) == first and status(run)["state"] == "ready"
    os.kill(first[1], signal.SIGKILL)  # nobody is there to step in: as without spares
    wait_until(lambda: serving(run)[1] != first[1], "a successor")
    assert run.stop() == 0


def test_says_that_it_leaves(umbel, tmp_path, port):
    """And lives on: it is ended, the next one waits longer and longer, and a stop waits for none of them."""
    leaves = tmp_path / "leaves.py"
    leaves.write_text(LEAVES)
    run = umbel("--name", "app", "-n", 1, "--spares", 1, "--grace", f"{60 * SLOW}s", "--",
                *without_a_slot(f"exec {PYTHON3} {leaves}", port))
    first = serving(run)
    run.wait_for(r"^umbel: spare pid \d+ said that it leaves; the next one is started in ", 30, 4)
    waits = [float(m[1]) for m in run.find(r"the next one is started in (\S+) s$")]
    assert waits[0] == 0.2 and waits[3] > 0.2
    assert serving(run) == first
    assert run.stop() == 0


def test_never_listens(umbel, port):
    timeout = 2 * SLOW
    run = umbel("--name", "app", "-n", 1, "--spares", 1, "--ready-timeout", f"{timeout}s", "--",
                *without_a_slot("exec sleep 1000", port))
    first = serving(run)
    run.wait_for(rf"^umbel: spare pid \d+ did not listen in {timeout}\.0 s; the next one is started in ", 20)
    assert serving(run) == first


def test_cannot_be_held(umbel, port):
    run = umbel("--name", "app", "-n", 1, "--spares", 1, "--share", "none", "--", "sleep", 1000)
    run.wait_for("^umbel: spares: a program of the kind 'none' cannot be held before it listens$")
    assert status(run)["spares"] == []


TAKES = """import http.server, os, socket, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d" % os.getpid())
if os.environ.get("LISTEN_PID") == str(os.getpid()):
    server = http.server.HTTPServer(("127.0.0.1", 0), Answer, bind_and_activate=False)
    server.socket = socket.socket(fileno=3)
    server.socket.set_inheritable(False)
else:
    server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
server.serve_forever()
"""


def test_program_that_takes_its_sockets(umbel, port, other_port):
    """A spare is offered none, and would serve somewhere else."""
    run = umbel("--name", "app", "-n", 1, "--spares", 2, "--listen", f"tcp://127.0.0.1:{port}", "--", PYTHON3, "-c",
                TAKES, other_port)
    first = serving(run)[1]
    run.wait_for(r"^umbel: spares: a program that takes the sockets that it is offered \(LISTEN_FDS\) cannot be held")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: serving(run)[1] != first, "a successor")
    assert int(get(port)) == serving(run)[1]
    assert not run.find("steps in") and look(run)["spares"] == []


def test_grows_old(umbel, port):
    run = umbel("--name", "app", "-n", 1, "--spares", 1, "--soak", "100ms", "--recycle-age", f"{2 * SLOW}s", "--",
                TESTS / "spares", f"tcp://:{port}")
    (pid,) = held(run, 1)
    run.wait_for(rf"^umbel: spare pid {pid} is replaced: it is \S+ s old$", 20)
    assert held(run, 1).isdisjoint({pid})


# ---- reload, scale, stop ----


def test_reload(app):
    """Those of the old generation are ended once the new one serves, and not before."""
    run = app(kind="c", count=1)
    (old,) = run.spares
    done = verb(run, "reload", "app")
    assert done.returncode == 0, done.stderr
    (new,) = held(run, 1, generation=2)
    assert new != old
    wait_dead(old)
    os.kill(serving(run)[1], signal.SIGKILL)
    assert steps_in(run, 1, {new}) == new
    assert {w["generation"] for w in status(run)["workers"]} == {2}


def test_during_a_reload(app):
    """A slot of the old generation has the old spare; when it is all undone nothing has changed."""
    run = app(kind="c", count=2)
    reload = subprocess.Popen([UMBEL, "reload", "app", "--canary", "1"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, env=os.environ | {"UMBEL_HOME": str(run.home)})
    run.wait_for("^umbel: reload: hold", 20)
    assert held(run, 2) == run.spares
    os.kill(run.first[2], signal.SIGKILL)
    run.wait_for(r"^umbel: slot 2: pid \d+ steps in")
    assert verb(run, "reload", "app", "--undo").returncode == 0
    assert reload.wait(20 * SLOW) == 4
    pid = steps_in(run, 2, run.spares)
    assert held(run, 2, generation=1) - run.spares and pid not in held(run, 2)


def test_scale(app):
    run = app(kind="c", count=1, workers=1)
    assert verb(run, "scale", "app", 2).returncode == 0
    assert steps_in(run, 2, run.spares) in run.spares  # it had booted already
    spares = held(run, 1)
    assert verb(run, "scale", "app", 0).returncode == 0
    wait_until(lambda: (now := status(run))["state"] == "empty" and not now["spares"] and not now["workers"],
               "everybody to leave")
    wait_dead(*spares)
    assert verb(run, "scale", "app", 1).returncode == 0
    serving(run)
    held(run, 1)


def test_stop(app):
    run = app(kind="c")
    assert run.stop() == 0
    assert run.find("^umbel: stopping 2 workers$")
    wait_dead(*run.spares)


def test_library(program, port):
    """What the primary's program sees of them."""
    run = program(TESTS / "spares", f"tcp://:{port}", 1)
    first = int(run.wait_for(r"^umbel: slot 1 pid (\d+) ready")[1])
    spare = int(run.wait_for(r"^umbel: slot 0 pid (\d+) started")[1])
    wait_until(lambda: greeting(port).split() == [str(first), "1", "environment"], "the first worker")

    def is_asked():  # it is held some time after its start
        run.send(signal.SIGUSR1)
        return run.find(rf"^umbel: slot 0 pid {spare} gone")
    wait_until(is_asked, "the spare to leave")
    assert run.find(rf"^umbel: slot 0 pid {spare} killed by 9")
    run.wait_for(r"^umbel: slot 0 pid \d+ started", count=2)
    os.kill(first, signal.SIGKILL)
    pid = int(run.wait_for(r"^umbel: slot 1 pid (\d+) ready", count=2)[1])
    assert not run.find(rf"^umbel: slot 1 pid {pid} started"), "it was started as a spare"
    assert greeting(port).split() == [str(pid), "1"]
    run.send(signal.SIGUSR2)
    run.wait_for("^empty")
    assert not run.find("^umbel: slot 0 pid .* ready")
    started = {m[1] for m in run.find(r"pid (\d+) started")}
    assert started == {m[1] for m in run.find(r"pid (\d+) gone")}
    assert run.stop() == 0
