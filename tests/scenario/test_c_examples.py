"""The examples, each alone (its own primary) and under `umbel run`."""
import os
import re
import subprocess

import pytest
from c_programs import EXAMPLES, WAYS, greeting, greetings, program, start  # noqa: F401
from harness import get, is_refused, wait_until

CPUS = len(os.sched_getaffinity(0))
pytestmark = pytest.mark.parametrize("way", WAYS)


def built(name):
    if not (EXAMPLES / name).exists():
        pytest.skip(f"examples/{name} was not built: its library is not here")
    return EXAMPLES / name


def wait_all(run, way, port, ask):
    """The answers of all workers, once each of them answers."""
    workers = 2 if way == "umbel run" else CPUS
    if way == "umbel run":
        run.wait_listening(2)
    seen = set()

    def all_answered():
        try:
            seen.add(ask(port))
        except ConnectionRefusedError:
            pass
        return len(seen) == workers

    wait_until(all_answered, f"{workers} workers to answer")
    return seen


def stop(run, number=15):
    assert run.stop(number) == 0


@pytest.mark.parametrize("name", ["hello", "hello_libevent", "messages"])
def test_greetings(start, way, name, port):
    run = start(way, built(name), port)
    workers = wait_all(run, way, port, greeting)
    assert workers == {f"hello from worker {n + 1}\n" for n in range(len(workers))}
    assert greetings(port, 100 * len(workers)) == dict.fromkeys(workers, 100)
    stop(run)
    assert is_refused(port)


def test_http(start, way, port):
    run = start(way, built("hello_http"), port)
    workers = wait_all(run, way, port, lambda p: get(p).decode())
    assert {re.match(r"hello from worker (\d+) \(pid \d+\)$", w)[1] for w in workers} == {
        str(n + 1) for n in range(len(workers))}
    output = subprocess.run(["ab", "-k", "-q", "-n", "2000", "-c", "20", f"http://127.0.0.1:{port}/"],
                            capture_output=True, text=True, check=True).stdout
    assert re.search(r"Failed requests:\s+0\n", output) and "Non-2xx" not in output
    stop(run)


def test_interrupt(start, way, port):
    run = start(way, built("hello"), port, tty=True)
    wait_all(run, way, port, greeting)
    os.write(run.master, b"\x03")  # Ctrl-C, from the terminal
    assert run.wait() == 0


def test_messages_are_counted(start, way, port):
    run = start(way, built("messages"), port)
    workers = wait_all(run, way, port, greeting)
    greetings(port, 50 * len(workers))
    if way == "alone":  # else the primary is `umbel run`, which counts no such thing
        run.wait_for(r"^worker 1: (5\d|[6-9]\d)$", stream="stdout")
    stop(run)


def test_port_in_use(umbel, start, way, port):
    first = umbel("--name", "first", "-n", 2, "--", built("hello"), port)
    first.wait_listening(2)
    second = start(way, built("hello"), port)
    assert second.wait() == 1
    assert second.find(rf"cannot listen on tcp://:{port}: Address already in use", "stderr")
    assert greetings(port, 10).total() == 10
