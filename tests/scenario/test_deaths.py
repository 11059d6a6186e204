"""Workers that end: somebody else goes on, a successor takes the slot."""
import os
import re
import signal
import socket
import subprocess

import pytest
from harness import SLOW, get, is_refused, stat, wait_until, who


class Wrk:
    """wrk, while things happen: until result() is called."""

    def __init__(self, port, connections, *options):
        self.process = subprocess.Popen(
            ["wrk", "-t1", f"-c{connections}", f"-d{60 * SLOW}s", "--timeout", f"{10 * SLOW}s",
             *options, f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE, text=True)

    def result(self):
        """(requests, errors by kind)"""
        self.process.send_signal(signal.SIGINT)
        text = self.process.communicate(timeout=60 * SLOW)[0]
        kinds = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        errors = dict(zip(("connect", "read", "write", "timeout"), map(int, kinds.groups()))
                      if kinds else {})
        assert "Non-2xx" not in text
        return int(re.search(r"(\d+) requests in", text)[1]), errors


def connections_of(pid, port):
    """How many connections accepted on port the process holds."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).readlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "01":
                sockets.add(f"socket:[{fields[9]}]")
    held = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            held.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            pass  # closed meanwhile
    return len(sockets & held)


def freeze(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: stat(pid)[0] == "T", "the process to stop")


def wait_busy(pid):
    """Until it has used a tenth of a second more of CPU time."""
    ticks = int(stat(pid)[11]) + os.sysconf("SC_CLK_TCK") // 10
    wait_until(lambda: int(stat(pid)[11]) >= ticks, f"load on {pid}")


@pytest.mark.parametrize("options", [[], ["-H", "Connection: close"]], ids=["keep-alive", "close"])
def test_killed_under_load(umbel, port, options):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    pids = run.wait_listening(2)
    wrk = Wrk(port, 16, *options)
    for pid in pids.values():
        wait_busy(pid)
    freeze(pids[2])  # so that what it holds can be counted
    in_hand = connections_of(pids[2], port)
    os.kill(pids[2], signal.SIGKILL)
    successor = run.wait_successor(2, pids[2])
    if options:  # each request is a new connection
        wait_busy(successor)
    wait_busy(pids[1])
    requests, errors = wrk.result()
    assert requests > 100
    assert errors.pop("read", 0) + errors.pop("write", 0) <= in_hand
    assert not any(errors.values())
    assert run.wait_listening(2) == {1: pids[1], 2: successor}
    assert set(who(port, 10)) == {pids[1], successor}
    run.wait_for(rf"^umbel: slot 2 pid {pids[2]} killed by SIGKILL after \d+\.\d s$")


def test_all_killed_at_once(umbel, port):
    run = umbel("-n", 3, "--", "node", "app.js", port)
    pids = run.wait_listening(3)
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    successors = {slot: run.wait_successor(slot, pid) for slot, pid in pids.items()}
    assert set(who(port, 30)) == set(successors.values())


def test_killed_again_and_again(umbel, port):
    """More often than the failures in a row that end a run, because each had listened."""
    run = umbel("-n", 2, "--", "node", "app.js", port)
    first = run.wait_listening(2)[1]
    pid = run.slots()[2]
    for _ in range(8):
        os.kill(pid, signal.SIGKILL)
        pid = run.wait_successor(2, pid)
    assert set(who(port, 10)) == {first, pid}


def test_a_worker_that_exits(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    pids = run.wait_listening(2)
    with pytest.raises(OSError):
        get(port, "/exit?code=7")
    slot, pid = map(int, run.wait_for(r"slot (\d) pid (\d+) exited with 7 after \d+\.\d s$")
                    .groups())
    assert pids[slot] == pid
    successor = run.wait_successor(slot, pid)
    assert set(who(port, 10)) == {pids[3 - slot], successor}


def test_an_exit_with_0_is_replaced_too(umbel, port):
    run = umbel("-n", 1, "--", "node", "app.js", port)
    pid = run.wait_listening(1)[1]
    with pytest.raises(OSError):
        get(port, "/exit?code=0")
    run.wait_for(rf"slot 1 pid {pid} exited with 0 after")
    successor = run.wait_successor(1, pid)
    assert set(who(port, 3)) == {successor}


def test_a_server_that_closes_in_one_worker(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    pids = run.wait_listening(2)
    closed = int(get(port, "/close"))
    other = ({*pids.values()} - {closed}).pop()
    assert set(who(port, 10)) == {other}
    assert run.slots() == pids
    get(port, "/close")
    wait_until(lambda: is_refused(port), "nobody to listen")
    assert run.slots() == pids


def test_five_that_never_listened_end_it(umbel):
    run = umbel("-n", 1, "--share", "node", "--", "node", "-e", "process.exit(3)")
    assert run.wait() == 1
    assert len(run.find(r"^umbel: slot 1 pid \d+ exited with 3 after")) == 5
    assert run.output("stderr")[-1].startswith("umbel: ")


def test_the_reason_comes_out(umbel):
    run = umbel("-n", 2, "--", "node", "no_such_file.js")
    assert run.wait() == 1
    assert run.find(r"^\[\d\] .*Cannot find module .*no_such_file\.js", "stderr")


def test_a_successor_under_a_stopped_neighbour(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    pids = run.wait_listening(2)
    freeze(pids[1])
    os.kill(pids[2], signal.SIGKILL)
    run.wait_successor(2, pids[2])
    os.kill(pids[1], signal.SIGCONT)
    assert len(who(port, 10)) == 2


def test_the_port_stays_while_nobody_lives(umbel, port):
    """Between the death of the only worker and its successor's listen(): refused or served, and
    soon served again."""
    run = umbel("-n", 1, "--", "node", "app.js", port)
    pid = run.wait_listening(1)[1]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_refused(port), "somebody to listen again")
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        s.settimeout(10 * SLOW)
        assert s.recv(100).startswith(b"HTTP/1.1 200")
