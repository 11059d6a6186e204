"""The corners of the library that a program of its own meets: see tests/programs/embed.c."""
import os
import socket
import time
from collections import Counter

import pytest
from c_programs import TESTS, greeting, greetings, program  # noqa: F401
from harness import wait_until

EPERM, ENOENT, EEXIST, EINVAL, EPROTO, EADDRINUSE = 1, 2, 17, 22, 71, 98


def numbers(run):
    """{what: number} of the lines "what number"."""
    pairs = (line.rpartition(" ") for line in run.output("stdout"))
    return {what: int(number) for what, _, number in pairs if number.lstrip("-").isdigit()}


def wakes_itself(pid):
    """Whether a process that nobody asks anything goes on running. (What it was woken for before may
    still be going on: one quiet look tells.)"""
    def cpu_ns():
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[0])

    def is_quiet():
        before, looked = cpu_ns(), time.monotonic()
        while time.monotonic() - looked < 0.2:
            os.sched_yield()
        return cpu_ns() - before < 10_000_000

    return not any(is_quiet() for _ in range(10))


def test_a_loop_of_its_own(program, port):
    run = program(TESTS / "embed", "poll", f"tcp://:{port}")
    pids = run.wait_listening(2)
    assert greetings(port, 40) == {f"{pid}\n": 20 for pid in pids.values()}
    os.kill(pids[1], 9)  # a death and a timer are seen too
    successor = run.wait_successor(1, pids[1])
    assert greetings(port, 40) == {f"{pid}\n": 20 for pid in (successor, pids[2])}
    assert not wakes_itself(run.pid)
    assert run.stop() == 0  # by umbel_wake() in a signal handler
    assert len(run.find("^worker: over: 0$")) == 2
    assert run.find("^primary: over: 0$")


@pytest.mark.parametrize("case, line", [
    ("wake", "^woken well$"),
    ("stop-first", "^stop 0$"),
])
def test_primary_alone(program, case, line):
    run = program(TESTS / "embed", case)
    assert run.wait() == 0
    assert run.find(line)


def test_close_inside_a_handler(program):
    run = program(TESTS / "embed", "close-in-handler")
    assert run.wait() == 0
    pid = int(run.find(r"^closing, worker (\d+)$")[0][1])
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "its worker to end")


def test_fork_by_hand(program):
    run = program(TESTS / "embed", "by-hand")
    assert run.wait() == 0
    assert run.output("stdout")[:-2] == [
        f"{n} ended with {10 + n}, asked 0, state 5" for n in (1, 2, 3)]


def test_disconnect_all(program):
    run = program(TESTS / "embed", "disconnect")
    assert run.wait() == 0
    assert numbers(run)["disconnect"] == 0
    assert len(run.find(r"^umbel: slot [123] pid \d+ left with 0$")) == 3
    assert numbers(run)["empty, workers"] == 0


def test_scale(program):
    run = program(TESTS / "embed", "scale")
    assert run.wait() == 0
    found = numbers(run)
    assert (found["scale 4:"], found["workers"], found["scale 1:"]) == (0, 4, 0)
    assert found["scale 1025:"] == -EINVAL
    left = [int(m[1]) for m in run.find(r"^umbel: slot (\d) pid \d+ left with 0$")]
    assert sorted(left[:3]) == [2, 3, 4] and left[3:] == [1]


def test_wrong_role(program):
    run = program(TESTS / "embed", "wrong-role")
    assert run.wait() == 0
    assert numbers(run) == numbers(run) | {
        "listen": -EPERM, "unlisten": -EPERM, "slot": 0, "send": -EINVAL,
        "setup": -EPERM, "settings": 0, "fork": -EPERM, "scale": -EPERM, "disconnect": -EPERM,
        "next": 0, "bad json": -EINVAL, "cmd": -EINVAL, "bad address": -EINVAL, "twice": -EEXIST,
        "not served": -ENOENT}


def test_port_in_use(program, port):
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))
        s.listen()
        run = program(TESTS / "embed", "busy", f"tcp://127.0.0.1:{port}")
        assert run.wait() == 1
        assert run.find(rf"^primary: over: -{EADDRINUSE} cannot listen on tcp://127.0.0.1:{port}: "
                        rf"Address already in use: pid {os.getpid()} \(\S+\) listens there$")


def test_listen_again(program, port):
    run = program(TESTS / "embed", "unlisten", f"tcp://:{port}")
    pid = run.wait_listening(1)[1]
    answers = Counter()

    def two_answers():  # refused, or cut in the backlog, while nobody listens
        try:
            answers[greeting(port)] += 1
        except (ConnectionRefusedError, ConnectionResetError):
            pass
        return answers[f"{pid}\n"] == 2

    wait_until(two_answers, "two answers")
    assert set(answers) <= {f"{pid}\n", ""}
    assert len(run.find(r"listens on")) == 2


@pytest.mark.parametrize("env, why", [
    ({"UMBEL_CHANNEL": "77"}, "UMBEL_CHANNEL=77 is no open stream socket"),
    ({"UMBEL_CHANNEL": "0"}, "UMBEL_CHANNEL=0 is no open stream socket"),
    ({"UMBEL_CHANNEL": ""}, "UMBEL_CHANNEL= is no open stream socket"),
    ({"UMBEL_CHANNEL": "3x"}, "UMBEL_CHANNEL=3x is no open stream socket"),
    ({"NODE_CHANNEL_FD": "-1", "NODE_UNIQUE_ID": "1"}, "NODE_CHANNEL_FD=-1 is no open stream socket"),
    ({"NODE_CHANNEL_FD": "3", "NODE_UNIQUE_ID": "1", "NODE_CHANNEL_SERIALIZATION_MODE": "advanced"},
     "the primary speaks the serialization 'advanced'"),
])
def test_broken_environment(program, env, why):
    run = program(TESTS / "embed", "wake", env=env)
    assert run.wait() == 3
    assert run.find(rf"^open: -{EPROTO} {why}")


def test_plain_child_of_node(program):
    """NODE_CHANNEL_FD alone is a child_process.fork(): no cluster, so it is its own primary."""
    run = program(TESTS / "embed", "stop-first", env={"NODE_CHANNEL_FD": "3"})
    assert run.wait() == 0
    assert run.find("^primary: over: 0$")


def test_broken_line_from_the_primary(program):
    """A worker whose primary speaks nonsense ends with an error and says why."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run = program(TESTS / "embed", "busy", "tcp://:1", env={"UMBEL_CHANNEL": str(theirs.fileno())},
                      pass_fds=[theirs.fileno()])
        theirs.close()
        ours.sendall(b"{nonsense\n")
        assert run.wait() == 1
        assert run.find(rf"^worker: over: -{EPROTO} the primary broke the protocol$")


def test_end_of_the_channel(program):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run = program(TESTS / "embed", "busy", "tcp://:1", env={"UMBEL_CHANNEL": str(theirs.fileno())},
                      pass_fds=[theirs.fileno()])
        theirs.close()
        ours.close()
        assert run.wait() == 0
        assert run.find("^worker: over: 0$")
