"""C workers: how they are handed connections, drain, leave and die."""
import os
import re
import select
import shutil
import signal
import socket
from collections import Counter

import pytest
from c_programs import EXAMPLES, TESTS, WAYS, Talk, greetings, program, start  # noqa: F401
from harness import SLOW, is_refused, is_sanitized, stat, wait_until
from test_deaths import Wrk, connections_of, freeze

both_ways = pytest.mark.parametrize("way", WAYS)


def serve(start, way, port):
    run = start(way, TESTS / "serve", f"tcp://:{port}")
    return run, run.wait_listening(2)


@both_ways
def test_rotation(start, way, port):
    run, pids = serve(start, way, port)
    assert Counter(Talk(port).pid for _ in range(200)) == dict.fromkeys(pids.values(), 100)


def pids_told(clients):
    """{client: pid} of those that were told by now."""
    told = {}
    for s in select.select(clients, [], [], 0)[0]:
        line = s.recv(100, socket.MSG_PEEK)
        assert line.endswith(b"\n"), f"a connection was dropped ({line})"
        told[s] = int(line)
    return told


def stopped_with_clients(start, way, port, count):
    """Worker 2 is stopped; half of the clients have been answered, half wait in its lane."""
    run, pids = serve(start, way, port)
    freeze(pids[2])
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    wait_until(lambda: len(pids_told(clients)) == count // 2, "half of the clients to be answered")
    assert set(pids_told(clients).values()) == {pids[1]}
    return run, pids, clients


@both_ways
def test_lane_of_a_dead_worker(start, way, port):
    """What a killed worker had not taken is served by others."""
    run, pids, clients = stopped_with_clients(start, way, port, 40)
    assert connections_of(pids[2], port) == 0
    os.kill(pids[2], signal.SIGKILL)
    wait_until(lambda: len(pids_told(clients)) == 40, "all clients to be answered")
    successor = run.wait_successor(2, pids[2])
    assert set(pids_told(clients).values()) <= {pids[1], successor}
    for client in clients:
        client.close()


@both_ways
def test_lane_of_a_resumed_worker(start, way, port):
    run, pids, clients = stopped_with_clients(start, way, port, 20)
    os.kill(pids[2], signal.SIGCONT)
    wait_until(lambda: len(pids_told(clients)) == 20, "all clients to be answered")
    assert Counter(pids_told(clients).values()) == {pids[1]: 10, pids[2]: 10}
    for client in clients:
        client.close()


def test_connections_that_wait_for_a_successor(program, port):
    """The primary hands them on at once: they may reach the worker before the answer to its question
    does."""
    run = program(TESTS / "serve", f"tcp://:{port}", 1, 300)
    pid = run.wait_listening(1)[1]
    for _ in range(3):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: run.slots().get(1) not in (pid, None), "a successor")
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        pid = run.wait_successor(1, pid)
        wait_until(lambda: len(pids_told(clients)) == 60, "all clients to be answered")
        assert set(pids_told(clients).values()) == {pid}
        for client in clients:
            client.close()


def test_lane_has_a_limit(start, port):
    """A stopped worker holds 64 connections, the others get the rest."""
    run, pids = serve(start, "alone", port)
    freeze(pids[2])
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    wait_until(lambda: len(pids_told(clients)) == 200 - 64, "all but 64 clients to be answered")
    os.kill(pids[2], signal.SIGCONT)
    wait_until(lambda: len(pids_told(clients)) == 200, "all clients to be answered")
    for client in clients:
        client.close()


def wait_busy(pid):
    """Until it has used some CPU time more."""
    def ticks():
        return int(stat(pid)[11]) + int(stat(pid)[12])
    before = ticks()
    wait_until(lambda: ticks() > before + 4, f"load on {pid}")


def test_killed_under_load(umbel, port):
    if not (EXAMPLES / "hello_http").exists():
        pytest.skip("examples/hello_http was not built: libmicrohttpd is not here")
    run = umbel("-n", 2, "--", EXAMPLES / "hello_http", port)
    pids = run.wait_listening(2)
    wrk = Wrk(port, 16, "-H", "Connection: close")
    for pid in pids.values():
        wait_busy(pid)
    freeze(pids[2])
    in_hand = connections_of(pids[2], port)
    os.kill(pids[2], signal.SIGKILL)
    wait_busy(run.wait_successor(2, pids[2]))
    requests, errors = wrk.result()
    assert requests > 100
    assert errors.pop("read", 0) + errors.pop("write", 0) <= in_hand
    assert not any(errors.values())


@both_ways
def test_drain(start, way, port):
    run, pids = serve(start, way, port)
    talks = [Talk(port) for _ in range(4)]
    for talk in talks:
        talk.say("sleep 3")
    run.send()
    wait_until(lambda: is_refused(port), "the port to close")
    assert [talk.answer() for talk in talks] == ["done\n"] * 4
    assert run.wait() == 0
    assert len(run.find(r"^umbel: slot \d pid \d+ left ")) == 2


@both_ways
def test_second_stop_ends_at_once(start, way, port):
    run, pids = serve(start, way, port)
    talks = [Talk(port) for _ in range(2)]
    run.send()
    wait_until(lambda: is_refused(port), "the port to close")
    run.send(signal.SIGINT)  # another one: the same twice within 20 ms is one (timeout(1))
    assert run.wait(5) == 0
    for talk in talks:
        assert talk.answer() == ""


@both_ways
def test_a_worker_stops_by_itself(start, way, port):
    run, pids = serve(start, way, port)
    talks = sorted((Talk(port) for _ in range(4)), key=lambda talk: talk.pid == pids[2])
    leaving = talks.pop()
    assert leaving.ask("stop") == "done\n"
    assert [talk.ask("x") for talk in talks] == ["done\n"] * 3  # one of them is its own
    successor = run.wait_successor(2, pids[2])
    run.wait_for(rf"^umbel: slot 2 pid {pids[2]} left ")  # its successor did not wait for that
    assert set(Talk(port).pid for _ in range(4)) == {pids[1], successor}


def test_workers_that_stop_lose_no_connection(start, port):
    """Under load, each leaves again and again: what is handed to one that is leaving is served."""
    run, pids = serve(start, "alone", port)
    for turn in range(60):
        talks = [Talk(port, read=False) for _ in range(8)]
        for talk in talks:
            talk.say("stop" if talk is talks[turn % 8] and turn % 3 == 0 else "x")
        for talk in talks:
            assert int(talk.file.readline()) > 0 and talk.answer() == "done\n"
    assert len(run.find(r" left with 0$")) >= 10


@both_ways
def test_signal_to_one_worker(start, way, port):
    """SIGTERM for a worker alone: it leaves as if it wanted to, and is replaced."""
    run, pids = serve(start, way, port)
    os.kill(pids[1], signal.SIGTERM)
    run.wait_successor(1, pids[1])
    run.wait_for(rf"^umbel: slot 1 pid {pids[1]} left ")


@both_ways
def test_killed_primary(start, way, port):
    run, pids = serve(start, way, port)
    client = Talk(port)
    client.say("sleep 1")
    run.kill()  # and waits until its workers have left
    assert client.answer() == "done\n"  # what they had begun they have finished
    assert is_refused(port)


@both_ways
def test_unix_socket(start, way, tmp_path):
    path = tmp_path / "socket"
    run = start(way, TESTS / "serve", f"unix://{path}")
    pids = run.wait_listening(2)
    assert run.address() == f"unix://{path}"
    answers = Counter()
    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(path))
            answers[int(s.recv(100))] += 1
    assert answers == dict.fromkeys(pids.values(), 5)
    assert run.stop() == 0
    assert not path.exists()


@both_ways
def test_at_an_interface(start, way, port):
    address = f"tcp://127.0.0.1%lo:{port}"
    run = start(way, TESTS / "serve", address)
    pids = run.wait_listening(2)
    assert run.address() == address
    assert {Talk(port).pid, Talk(port).pid} == set(pids.values())


def test_any_port(start):
    run = start("umbel run", TESTS / "serve", "tcp://127.0.0.1:0")
    pids = run.wait_listening(2)
    port = int(run.address().rpartition(":")[2])
    assert {Talk(port).pid, Talk(port).pid} == set(pids.values())


@pytest.mark.parametrize("name", ["hello", "hello_http"])
def test_valgrind(umbel, port, tmp_path, name):
    """A worker leaves no memory and no descriptor. (Valgrind does not know the primary's pidfd.)"""
    if is_sanitized():
        pytest.skip("valgrind and sanitizers exclude each other")
    if not shutil.which("valgrind") or not (EXAMPLES / name).exists():
        pytest.skip(f"valgrind is not here, or examples/{name} was not built")
    log = tmp_path / "valgrind"
    run = umbel("-n", 1, "--", "valgrind", "--track-fds=yes", "--leak-check=full",
                "--show-leak-kinds=definite,indirect,possible", "--error-exitcode=9",
                f"--log-file={log}", EXAMPLES / name, port)
    run.wait_listening(1, 30)
    if name == "hello":
        assert greetings(port, 50) == {"hello from worker 1\n": 50}
    else:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert b"hello from worker 1" in b"".join(iter(lambda: s.recv(4096), b""))
    assert run.stop(timeout=30) == 0
    assert run.find(r"^umbel: slot 1 pid \d+ left ")
    report = log.read_text()
    assert re.search(r"ERROR SUMMARY: 0 errors", report), report
    # Besides what it inherited: its own log.
    entries = re.split(r"Open [^\n]*(?:descriptor|socket)", report.partition("FILE DESCRIPTORS:")[2]
                       .partition("HEAP SUMMARY")[0])[1:]
    assert not [e for e in entries if "<inherited from parent>" not in e and "valgrind" not in e], \
        report


@both_ways
def test_abstract_name(start, way, token):
    run = start(way, TESTS / "serve", f"unix://@{token}")
    pids = run.wait_listening(2)
    seen = Counter()
    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20 * SLOW)
            s.connect(f"\0{token}")
            seen[int(s.makefile().readline())] += 1
    assert seen == dict.fromkeys(pids.values(), 5)
