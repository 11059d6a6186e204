"""What was wrong once: connections that were lost or stuck, and workers that hurt others."""
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from c_programs import TESTS, Talk, greeting, program  # noqa: F401
from harness import PROGRAMS, SLOW, UMBEL, is_refused, wait_until
from test_c_workers import pids_told
from test_deaths import freeze

SERVE = TESTS / "serve"


# ---- connections ----

def test_many_given_back_are_served_at_once(umbel, port):
    """More than are accepted in one go, by the other worker: the successor is not there yet."""
    run = umbel("-n", 2, "--", SERVE, f"tcp://:{port}", 2, 1500)
    pids = run.wait_listening(2)
    for pid in pids.values():
        freeze(pid)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(120)]
    os.kill(pids[2], signal.SIGCONT)
    wait_until(lambda: len(pids_told(clients)) == 60, "half of the clients to be answered")
    os.kill(pids[1], signal.SIGKILL)
    wait_until(lambda: len(pids_told(clients)) == 120, "all clients to be answered")
    assert set(pids_told(clients).values()) == {pids[2]}
    for client in clients:
        client.close()


def test_a_closed_server_refuses_nobody(umbel, port, tmp_path):
    """What was on its way to a worker that closes its server goes to the other."""
    go = tmp_path / "go"
    run = umbel("-n", 2, "--", "node", "closes.js", port, go)
    pids = run.wait_listening(2)
    os.kill(pids[1], signal.SIGUSR2)
    run.wait_for(r"^\[1\] busy$")
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    wait_until(lambda: len(pids_told(clients)) >= 4, "the other's clients to be answered")
    assert len(pids_told(clients)) < 8
    go.touch()
    wait_until(lambda: len(pids_told(clients)) == 8, "all clients to be answered")
    assert set(pids_told(clients).values()) == {pids[2]}
    assert run.slots() == pids
    for client in clients:
        client.close()


def ask_serve(port):
    talk = Talk(port)
    assert talk.ask("x") == "done\n"
    return talk.pid


@pytest.mark.parametrize("command, leave, ask", [
    ((SERVE, "tcp://:{}", 1, 300), signal.SIGTERM, ask_serve),
    (("node", "closes.js", "{}", "-"), signal.SIGHUP, lambda port: int(greeting(port))),
], ids=["libumbel", "node"])
def test_the_only_worker_leaves(umbel, port, command, leave, ask):
    """Who comes before its successor listens waits for him."""
    run = umbel("-n", 1, "--", *(str(word).format(port) for word in command))
    pid = run.wait_listening(1)[1]
    for _ in range(3):
        os.kill(pid, leave)
        while (answered := ask(port)) == pid:
            pass
        pid = run.wait_successor(1, pid)
        assert answered == pid


# ---- how it was started ----

def test_ignored_sigchld(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port, before=["env", "--ignore-signal=CHLD"])
    pids = run.wait_listening(2)
    os.kill(pids[1], signal.SIGKILL)
    run.wait_successor(1, pids[1])
    assert run.find(rf"^umbel: slot 1 pid {pids[1]} killed by SIGKILL ")
    assert run.stop() == 0


def test_closed_standard_streams(program, port, home):
    run = program("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', UMBEL, "run", "-n", 1, "--", SERVE,
                  f"tcp://:{port}")
    wait_until(lambda: not is_refused(port), "the port to open")
    for _ in range(5):
        assert ask_serve(port) > 0
    assert run.stop() == 0
    assert run.output() == []
    assert is_refused(port)
    assert not os.listdir(home)


# ---- rogues: see tests/programs/rogue.py ----

def with_rogue(umbel, port, tmp_path, kind, *options):
    return umbel("-n", 2, "--share", "channel", *options, "--", sys.executable, PROGRAMS / "rogue.py",
                 kind, port, tmp_path / "once", SERVE, f"tcp://:{port}")


def check_serving(run, port):
    """Both slots have a good worker, and the run can stop."""
    pids = run.wait_listening(2)
    assert {ask_serve(port) for _ in range(4)} == set(pids.values())
    assert run.stop() == 0


def test_a_worker_that_left_its_group(umbel, port, tmp_path):
    run = with_rogue(umbel, port, tmp_path, "escape", "--grace", "500ms")
    run.wait_for(r"^\[1\] escaped$")
    begin = time.monotonic()
    assert run.stop() == 0
    assert time.monotonic() - begin < 3 * SLOW
    assert run.find(r"^umbel: slot 1 pid \d+ killed by SIGKILL ")


def test_flood_of_a_grandchild(umbel, port, tmp_path):
    run = with_rogue(umbel, port, tmp_path, "flood")
    child = int(run.wait_for(r"^\[1\] flooded by (\d+)$")[1])
    wait_until(lambda: not Path(f"/proc/{child}/exe").exists(), "the end of the flood")
    check_serving(run, port)


def test_thousands_of_ports(umbel, port, tmp_path):
    run = with_rogue(umbel, port, tmp_path, "ports", "--grace", "500ms")
    run.wait_for(r"^\[1\] 64 opened, 1936 times EMFILE$")
    good = run.wait_for(r"^umbel: slot 2 pid (\d+) listens")[1]
    assert {ask_serve(port) for _ in range(4)} == {int(good)}
    assert run.stop() == 0


def test_escapes_in_a_message(umbel, port, tmp_path):
    run = with_rogue(umbel, port, tmp_path, "steps")
    run.wait_for(r"^umbel: slot 1 pid \d+ exited with 1 ")
    check_serving(run, port)
    assert not [c for text in run.output() for c in text if c in "\x1b\x07"]


@pytest.mark.parametrize("kind", ["ack", "accepted"])
def test_answers_to_nothing(umbel, port, tmp_path, kind):
    """It costs the one that invented them; who was handed to it is served by another."""
    run = with_rogue(umbel, port, tmp_path, kind)
    run.wait_for(r"^umbel: slot 2 pid \d+ listens")
    if kind == "accepted":
        run.wait_for(r"^umbel: slot 1 pid \d+ listens")
    for _ in range(4):
        assert ask_serve(port) > 0
    run.wait_for(r"^umbel: slot 1 pid \d+.* broke the protocol: .*NODE_HANDLE_ACK", stream="stderr")
    run.wait_for(r"^umbel: slot 1 pid \d+ killed by SIGKILL ")
    check_serving(run, port)
