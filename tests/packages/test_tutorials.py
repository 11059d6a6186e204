"""Programs as tutorials on cluster print them, as they stand. Under umbel their worker branch runs; what they
say to their primary is the event `message`, and what the primary did for them umbel does."""
import os
import re

import pytest
from control import Events, verb, why
from harness import get, is_refused, wait_until
from helpers import BOTH, HERE, SOAK, check_own_primary, check_run, own_primary, row

# name: (file, how a page tells the pid)
PROGRAMS = {
    "Node documentation: first example, ES module": ("node_docs.mjs", None),
    "Node documentation: requests counted by the primary": ("requests.js", None),
    "a counter for each pid": ("per_pid.js", r"worker (\d+)\n"),
    "`hello worker`, `hello master`": ("hello.js", r"worker (\d+)\n"),
    "respawn on exit": ("respawn.js", r"Process (\d+) says"),
    "Express, one worker for each CPU": ("express_cluster.js", r"from (\d+)!"),
    "two files: `index.mjs`": ("two_files/index.mjs", r"pid (\d+)\n"),
    "restart without downtime, on SIGUSR2": ("zero_downtime.js", r"pid (\d+)\n"),
    "a value told to all workers": ("broadcast.js", r"^(\d+) "),
}
REMARKS = {
    "requests.js": "The primary's sum of each second is `umbel events`' to make, or `umbel status`'",
    "hello.js": "Nobody says \"hello worker\"",
    "respawn.js": "Its `cluster.fork()` on exit is umbel's",
    "zero_downtime.js": "`umbel reload`, or SIGHUP, takes SIGUSR2's place",
    "express_cluster.js": "`-n max`, the default, is one for each CPU",
}


def tutorial(name, *marks):
    file, pid = PROGRAMS[name]
    return pytest.param(file, pid, marks=row(name, BOTH, remark=REMARKS.get(file)), id=file)


@pytest.fixture
def start(umbel, port):
    """Two workers of a file of tutorials, on port. The options are umbel's."""
    def start(file, *options, listening=2):
        run = umbel("-n", 2, "--name", "app", "--soak", "200ms", "--env", f"PORT={port}", *options, "--",
                    "node", f"tutorials/{file}", cwd=HERE)
        if listening:
            run.wait_listening(listening)
        return run
    return start


@pytest.mark.parametrize("file, pid", map(tutorial, PROGRAMS))
def test_serves_reloads_stops(start, port, file, pid):
    run = start(file)
    check_run(run, port, pid=pid)
    assert not run.find("(?i)^.[12]. (master|primary|number of cpus|setting up)"), "its primary's branch ran"


@row("Node documentation: requests counted by the primary", "a message in `umbel events` for each request")
def test_each_request_is_a_message(start, port):
    run = start("requests.js")
    events = Events(run)
    for _ in range(6):
        get(port)
    pids = {events.wait_for("message", message={"cmd": "notifyRequest"})["pid"] for _ in range(6)}
    assert pids == set(run.slots().values())
    events.close()


@row("a counter for each pid", "the pids in `umbel events`, as often as they served")
def test_pids_are_messages(start, port):
    run = start("per_pid.js")
    events = Events(run)
    served = [int(re.search(rb"\d+", get(port))[0]) for _ in range(6)]
    told = [events.wait_for("message") for _ in served]
    assert sorted(event["message"]["pid"] for event in told) == sorted(served)
    assert all(event["pid"] == event["message"]["pid"] for event in told)
    events.close()


@row("`hello worker`, `hello master`", "each worker's hello in `umbel events`")
def test_hello_master(start):
    run = start("hello.js", listening=0)
    events = Events(run)
    for _ in range(2):
        event = events.wait_for("message")
        assert event["message"] == f"hello master, this is worker {event['id']}"
    assert not run.find("received")
    events.close()


@row("respawn on exit", "`process.exit(1)` and `cluster.worker.kill()`: a successor each, and `umbel why` says so")
def test_who_dies_is_followed(start, port):
    run = start("respawn.js")
    for path in ("/crash", "/kill"):
        before = run.wait_listening(2)
        try:
            get(port, path)
        except Exception:  # /crash answers nobody
            assert path == "/crash"
        wait_until(lambda: set(run.slots(listening=True).values()) - set(before.values()), "a successor")
        run.wait_listening(2)
    assert len([r for r in why(run) if r["event"] == "exit"]) == 2
    assert len({get(port) for _ in range(4)}) == 2


@row("restart without downtime, on SIGUSR2", "with `--signal-first` its SIGTERM handler runs to its end")
def test_its_handler_runs(start):
    run = start("zero_downtime.js", "--signal-first")
    pids = run.slots().values()
    assert run.stop() == 0
    for pid in pids:
        assert run.find(rf"^\[[12]\] {pid}: closed, exiting$")


@row("two files: `primary.mjs`", "it forks without asking whether it is the primary: as a worker it throws, and umbel "
     "gives up after five ends", result="does not work",
     remark="Way round: name `index.mjs`")
def test_a_file_that_is_only_a_primary(start, port):
    run = start("two_files/primary.mjs", listening=0)
    assert run.wait() == 1
    assert run.find("TypeError: cluster.setupPrimary is not a function")
    assert run.find("slot [12] failed: 5 workers in a row")
    assert is_refused(port)


@row("Node documentation: echo, a worker that listens nowhere", "with `--ready-timeout 0`: two workers run; stops "
     "with 0, nothing left", remark="Without the option it is killed after 30 s as not ready. Nobody says \"hi there\"")
def test_a_worker_without_a_port(start, token):
    run = start("echo.js", "--ready-timeout", 0, listening=0)
    run.wait_for("started", count=2)
    assert run.stop() == 0


@row("Node documentation: echo, a worker that listens nowhere", "without: killed after `--ready-timeout`")
def test_a_worker_without_a_port_is_not_ready(start):
    run = start("echo.js", "--ready-timeout", "500ms", "--max-failures", 1, listening=0)
    assert run.wait() == 1


@row("a value told to all workers: the telling", "the worker's message reaches no other worker", result="does not work",
     remark="The relay is the primary's JavaScript. Way round: the line below")
def test_nobody_passes_it_on(start, port):
    run = start("broadcast.js")
    events = Events(run)
    assert get(port, "/set/green") == b"set"
    events.wait_for("message", message={"value": "green"})
    assert all(get(port).endswith(b" nothing") for _ in range(10))
    events.close()


@row("a value told to all workers, by its own primary", "both of its workers serve and hear of it; a reload is "
     "undone (4), because its successor finds the port taken; stops with 0, nothing left",
     remark="`umbel run --share none -n 1 --soak 20s -- node app.js`")
def test_its_own_primary_passes_it_on(umbel, port):
    run = own_primary(umbel, port, "tutorials/broadcast.js", *SOAK)
    wait_until(lambda: serve_both(port), "both of its workers")

    def know():
        bodies = {get(port) for _ in range(4)}
        return len(bodies) == 2 and all(body.endswith(b" green") for body in bodies)

    get(port, "/set/green")
    wait_until(know, "both to know")
    check_own_primary(run, know)


@pytest.mark.skipif(os.cpu_count() < 2, reason="it forks one worker for each CPU")
@row("respawn on exit, by its own primary", "both of its workers serve; a reload succeeds after a gap; stops with 0, "
     "nothing left", result="works, but for the reload",
     remark="Its successor forks workers until its predecessor leaves the port, so umbel takes it for ready; nobody "
            "serves meanwhile")
def test_its_own_primary_respawns(umbel, port):
    run = own_primary(umbel, port, "tutorials/respawn.js")
    wait_until(lambda: serve_both(port), "both of its workers")
    done = verb(run, "reload", "app")
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: serve_both(port), "both of the successor's workers")
    assert run.find("EADDRINUSE")
    assert run.stop() == 0


def serve_both(port):
    return not is_refused(port) and len({get(port) for _ in range(4)}) > 1
