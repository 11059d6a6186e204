"""Ends: graceful, impatient, and those the primary did not choose."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from harness import SLOW, UMBEL, get, processes, stat, wait_until


class Request(threading.Thread):
    """One request in the background."""

    def __init__(self, port, path):
        super().__init__(daemon=True)
        self.port, self.path, self.answer = port, path, None
        self.start()

    def run(self):
        try:
            self.answer = get(self.port, self.path)
        except OSError as error:
            self.answer = error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_is_finished(umbel, port, number):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    pids = run.wait_listening(2)
    request = Request(port, "/slow?ms=3000")
    run.wait_for(r"^\[\d\] slow begins")
    assert run.stop(number) == 0
    request.join()
    assert int(request.answer) in pids.values()
    run.wait_for("^umbel: stopping 2 workers$")
    assert run.output("stdout")[-1] == "umbel: stopped"


def test_a_second_signal_ends_at_once(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    run.wait_listening(2)
    request = Request(port, "/slow?ms=20000")
    run.wait_for(r"^\[\d\] slow begins")
    run.send()
    run.wait_for("^umbel: stopping")
    begin = time.monotonic()
    run.stop(signal.SIGINT)  # another one: the same twice within 20 ms is one (timeout(1))
    assert time.monotonic() - begin < 2 * SLOW
    request.join()
    assert isinstance(request.answer, OSError)


def test_idle_connections_do_not_delay(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    run.wait_listening(2)
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    for s in idle:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
    begin = time.monotonic()
    assert run.stop() == 0
    assert time.monotonic() - begin < 3 * SLOW
    for s in idle:
        s.close()


def test_a_worker_kept_alive_by_timers_ends(umbel):
    run = umbel("-n", 2, "--", "node", "timers.js")
    run.wait_for(r"\] alive", count=2)
    begin = time.monotonic()
    assert run.stop() == 0
    assert time.monotonic() - begin < 5 * SLOW


def test_a_deaf_worker_is_killed_after_grace(umbel):
    run = umbel("-n", 2, "--share", "none", "--grace", "1s", "--", "node", "timers.js", "deaf")
    run.wait_for(r"\] alive", count=2)
    begin = time.monotonic()
    run.stop()
    assert 0.9 < time.monotonic() - begin < 5 * SLOW
    run.wait_for("killed by SIGKILL", count=2)


def test_a_worker_that_has_not_listened_yet_ends(umbel):
    run = umbel("-n", 2, "--", "node", "timers.js")
    run.wait_for("started", count=2)
    assert run.stop() == 0


def test_no_worker_outlives_the_primary(umbel, port):
    run = umbel("-n", 4, "--", "node", "app.js", port)
    run.wait_listening(4)
    run.kill()


def test_a_stopped_worker_does_not_outlive_the_primary(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    pid = run.wait_listening(2)[1]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: stat(pid)[0] == "T", "it to be stopped")  # all its threads: then SIGHUP and SIGCONT come
    run.kill()


def test_a_name_is_free_after_a_crash(umbel, port):
    first = umbel("-n", 2, "--", "node", "app.js", port)
    first.wait_listening(2)
    first.kill()
    second = umbel("-n", 2, "--", "node", "app.js", port)
    second.wait_listening(2)
    assert second.stop() == 0


def test_output_without_a_reader_stops_it(umbel, environment, token, port):
    """umbel run ... | head -1"""
    shell = subprocess.run(
        ["sh", "-c", '"$0" run -n 2 --env UMBEL_TEST=$UMBEL_TEST -- node app.js $1 | head -1',
         str(UMBEL), str(port)],
        cwd=os.path.dirname(__file__) + "/../programs", env=environment, timeout=20 * SLOW,
        stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert shell.stdout == f"umbel: app: 2 workers: node app.js {port}\n"
    wait_until(lambda: not processes(token), "all processes to end")
    assert not os.listdir(environment["UMBEL_HOME"])
    report = re.search(r"descriptors: (\d+) at start, (\d+) at end", shell.stderr)
    assert report and report[1] == report[2]


def test_a_reader_that_leaves_a_quiet_run_stops_it(environment, token, port):
    process = subprocess.Popen(
        [UMBEL, "run", "-n", "2", "--env", f"UMBEL_TEST={token}", "--", "node", "app.js",
         str(port)], cwd=os.path.dirname(__file__) + "/../programs", env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        seen = 0
        while seen < 2:
            seen += b"listens on" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(10 * SLOW) == 0
        assert not processes(token)
        assert not os.listdir(environment["UMBEL_HOME"])
    finally:
        for pid in processes(token):
            os.kill(pid, signal.SIGKILL)
        process.wait()
