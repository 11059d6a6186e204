"""Servers that know nothing of umbel, as they come: three workers on one port, all of them used. The other
languages, and at length: `make test-programs`."""
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest
from control import status
from crowd import Crowd
from harness import SLOW, is_refused, stat, wait_until
from intercepting import (BINDINGS, NOBODY, ab, app, check_all_used, each_user, home, user)  # noqa: F401
from plain_programs import PLAIN, check_there
from test_deaths import connections_of, freeze

SMALL = ["`python3 -m http.server`", "Go net/http, static", "node, `--share intercept`",
         "nginx, master_process off"]


@pytest.fixture
def place(home, user):
    """A directory that the program may write to."""
    path = home.with_name(home.name + "-place")
    path.mkdir()
    if user == "nobody":
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


def check_program(app, port, place, name, requests):
    """Three serve, nobody fails, nothing is left."""
    plain = PLAIN[name]
    check_there(plain)
    run, pids = app(*plain.command(port, place), options=plain.options, cwd=place)
    for one in status(run)["listeners"]:
        assert one["policy"] == "spread" and [s["slot"] for s in one["slots"]] == [1, 2, 3]
    check_all_used(port, pids.values())
    ab(port, requests)
    assert run.slots() == pids
    assert run.stop() == 0
    assert is_refused(port)


@pytest.mark.deadline(150)  # Go builds its library
@each_user
@pytest.mark.parametrize("name", SMALL)
def test_program(app, port, place, name):
    check_program(app, port, place, name, 2000)


def check_killed(app, port, place, name, rounds):
    """kill -9 under load, again and again: what fails is what the dead had accepted."""
    plain = PLAIN[name]
    check_there(plain)
    run, _ = app(*plain.command(port, place), options=plain.options, cwd=place)
    taken = 0
    with Crowd(port, parallel=32) as crowd:
        for n in range(rounds):
            slot = n % 3 + 1
            pid = run.slots(listening=True)[slot]
            crowd.go(100, leave=32)
            freeze(pid)
            taken += connections_of(pid, port)
            os.kill(pid, signal.SIGKILL)
            crowd.go(100, leave=32)
            run.wait_successor(slot, pid)
        crowd.go(100)
        assert len(crowd.failures) <= taken, crowd.failures[:5]
        assert len(crowd.answers) + len(crowd.failures) == rounds * 200 + 100
    check_all_used(port, run.slots().values())


@pytest.mark.deadline(150)
@pytest.mark.parametrize("name", SMALL[:3])
def test_killed_again_and_again(app, port, place, name):
    check_killed(app, port, place, name, 3)


# ---- what it costs ----

COUNTED = ["accept4", "read", "sendto", "close"]


def calls_of(pid, port, tmp_path, requests):
    """{system call: how often} while so many requests were served by that process."""
    log = tmp_path / f"strace-{pid}"
    strace = subprocess.Popen(["strace", "-f", "-c", "-o", log, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    try:
        said = strace.stderr.readline()
        if "attached" not in said:
            pytest.skip(f"strace may not attach here: {said}")
        ab(port, requests, clients=1)
        wait_until(lambda: stat(pid)[0] == "S", "it to accept again: the last close() is over")
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(20 * SLOW)
        strace.stderr.close()
    lines = [line.split() for line in log.read_text().splitlines()]
    return {words[-1]: int(words[3]) for words in lines if len(words) > 4 and words[3].isdigit()}


def test_no_call_more_for_a_connection(app, port, other_port, tmp_path):
    """An intercepted worker makes the system calls that the same server makes alone, and no other."""
    if not shutil.which("strace"):
        pytest.skip("strace is not here")
    requests = 200
    run, pids = app(BINDINGS, "plain", port, workers=1)
    with subprocess.Popen([BINDINGS, "plain", str(other_port)]) as alone:
        try:
            wait_until(lambda: not is_refused(other_port), "it to listen")
            theirs = calls_of(alone.pid, other_port, tmp_path, requests)
        finally:
            alone.kill()
    ours = calls_of(pids[1], port, tmp_path, requests)
    assert {name: ours.get(name) for name in COUNTED} == {name: theirs.get(name) for name in COUNTED}
    assert ours["accept4"] == requests
    assert set(ours) - {"total", "restart_syscall"} == set(theirs) - {"total", "restart_syscall"}
