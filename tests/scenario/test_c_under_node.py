"""C workers with libumbel under Node's own cluster module: the ways in
(examples/node-primary/README.md), both policies, messages, descriptors, leaving and dying."""
import itertools
import os
import re
import resource
import select
import signal
import socket
import subprocess
import threading
import time
from collections import Counter

import pytest
from c_programs import EXAMPLES, TESTS, marked
from harness import ROOT, SLOW, is_refused, is_sanitized, wait_until
from node_primary import NODE, POLICIES, WAYS, cpu_seconds, node_primary  # noqa: F401

ways = pytest.mark.parametrize("way", WAYS)
policies = pytest.mark.parametrize("policy", POLICIES)


def connect(port, host="127.0.0.1"):
    """(socket, pid of who serves it)"""
    s = socket.create_connection((host, port), 20 * SLOW)
    return s, int(s.makefile().readline())


def pids(port, count):
    """Who serves count connections, all open at a time, so that nobody can serve all but the fastest."""
    sockets = [connect(port) for _ in range(count)]
    for s, _ in sockets:
        s.close()
    return Counter(pid for _, pid in sockets)


def udp_pid(port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        for _ in range(20 * SLOW):  # it may get lost
            s.sendto(b"?", ("127.0.0.1" if family == socket.AF_INET else "::1", port))
            try:
                return int(s.recv(64))
            except TimeoutError:
                pass
    raise AssertionError("no answer")


def port_of(primary, number, kind=4):
    return next(e[2]["port"] for e in primary.find("listening", number)
                if e[2]["addressType"] == kind)


# ---- serving ----


@ways
@policies
def test_serves(node_primary, way, policy, port):
    """online, listening, connections, disconnect, exit: in this order, as of a Node worker."""
    primary = node_primary(way, policy, f"tcp://127.0.0.1:{port}")
    primary.fork(2)
    for number in (1, 2):
        assert primary.find("listening", number) == [
            ["listening", number, {"addressType": 4, "address": "127.0.0.1", "port": port}]]
    served = pids(port, 30)
    if way != "shim":  # there Node knows the shim's pid
        assert set(served) <= {primary.pid_of(1), primary.pid_of(2)}
    if policy == "rr":
        assert len(served) == 2 and min(served.values()) >= 10
    primary.say("disconnect")
    for number in (1, 2):
        primary.wait("exit", number, 0, None, True)
        primary.wait("disconnect", number, True)
        names = [e[0] for e in primary.events if e[1] == number]
        # The last two as they come (also of Node workers).
        assert sorted(dict.fromkeys(names), key=names.index)[:2] == ["online", "listening"]
        assert sorted(names[-2:]) == ["disconnect", "exit"]
    assert is_refused(port)
    assert primary.end() == 0


@policies
def test_addresses(node_primary, policy, port, tmp_path):
    """The forms of umbel_listen(), as Node reports them and as they are reached."""
    path = tmp_path / "socket"
    primary = node_primary("execPath", policy, f"tcp://:{port}", "tcp://[::1]:0", f"unix://{path}")
    primary.fork(2, addresses=3)
    told = [e[2] for e in primary.find("listening", 1)]
    assert {"addressType": 6, "address": "::", "port": port} in told
    assert {"addressType": -1, "address": str(path), "port": -1} in told
    ipv6 = next(a for a in told if a["address"] == "::1")
    assert ipv6["addressType"] == 6 and ipv6["port"] > 0
    assert sorted(map(str, told)) == sorted(map(str, [e[2] for e in primary.find("listening", 2)]))
    for host, number in (("127.0.0.1", port), ("::1", port), ("::1", ipv6["port"])):
        s, pid = connect(number, host)
        s.close()
        assert pid in (primary.pid_of(1), primary.pid_of(2))
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        assert int(s.makefile().readline()) in (primary.pid_of(1), primary.pid_of(2))
    primary.say("disconnect")
    primary.wait("exit", count=2)
    assert not path.exists()


@policies
def test_udp(node_primary, policy, port):
    """One socket for all, under both policies; udp://:PORT is IPv6 and IPv4."""
    primary = node_primary("execPath", policy, f"udp://127.0.0.1:{port}", "udp://:0", "udp://[::1]:0")
    primary.fork(2, addresses=3)
    workers = {primary.pid_of(1), primary.pid_of(2)}
    first = {e[2]["addressType"] + e[2]["address"]: e[2]["port"] for e in primary.find("listening", 1)}
    second = {e[2]["addressType"] + e[2]["address"]: e[2]["port"] for e in primary.find("listening", 2)}
    assert first == second and set(first) == {"udp4127.0.0.1", "udp6::", "udp6::1"}
    assert first["udp4127.0.0.1"] == port
    assert udp_pid(port) in workers
    assert udp_pid(first["udp6::"]) in workers
    assert udp_pid(first["udp6::"], socket.AF_INET6) in workers
    assert udp_pid(first["udp6::1"], socket.AF_INET6) in workers
    for number in (1, 2):
        primary.say("send", number, f"udp://127.0.0.1:{port}")  # unlisten: each has its own copy still
    primary.say("disconnect")
    primary.wait("exit", 1, 0)
    primary.wait("exit", 2, 0)


@policies
def test_listens_again(node_primary, policy, port):
    """umbel_unlisten() closes the port when nobody else listens; then it can be listened on again."""
    def is_closed():
        with socket.socket(socket.AF_INET6) as s:
            return s.connect_ex(("::1", port)) != 0

    primary = node_primary("execPath", policy, f"tcp://[::1]:{port}")
    primary.fork()
    for count in (2, 3, 4):
        primary.say("send", 1, f"tcp://[0::1]:{port}")  # another spelling is the same address
        wait_until(is_closed, "the port to be closed")
        primary.say("send", 1, f"tcp://[::1]:{port}")
        primary.wait("listening", 1, count=count)
        s, pid = connect(port, "::1")
        assert pid == primary.pid_of(1)
        s.close()
    primary.say("disconnect")
    primary.wait("exit", 1, 0)


@policies
def test_port_taken(node_primary, policy, port):
    """EADDRINUSE reaches the worker, as do all errors of bind(2)."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))
        s.listen()
        primary = node_primary("execPath", policy, f"tcp://127.0.0.1:{port}")
        primary.say("fork")
        primary.wait("exit", 1, 1, None, False)
        primary.wait_error(f"cannot listen on tcp://127.0.0.1:{port}: Address already in use")
    primary.say("fork")  # nothing of it is left
    primary.wait("listening", 2)
    assert len(pids(port, 2)) == 1
    primary.say("disconnect")
    primary.wait("exit", 2, 0)


@policies
def test_out_of_descriptors(node_primary, policy, port):
    """Clients wait, the worker does not spin, and everybody is served in the end."""
    primary = node_primary("execPath", policy, f"tcp://127.0.0.1:{port}")
    primary.fork()
    pid = primary.pid_of(1)
    used = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 3, used + 3))
    held = [connect(port) for _ in range(3)]
    waiting = [socket.create_connection(("127.0.0.1", port), 20 * SLOW) for _ in range(5)]
    assert cpu_seconds(pid, 1) < 0.1
    for s, _ in held:
        s.close()
    while waiting:  # in any order: Node puts those that were refused at the end
        ready = select.select(waiting, [], [], 20 * SLOW)[0]
        assert ready, f"{len(waiting)} still wait"
        for s in ready:
            assert int(s.makefile().readline()) == pid
            s.close()
            waiting.remove(s)
    primary.say("disconnect")
    primary.wait("exit", 1, 0)


# ---- messages ----


@ways
def test_messages(node_primary, way):
    """Any JSON value, both ways; large ones too."""
    primary = node_primary(way, "rr", "tcp://127.0.0.1:0")
    primary.fork()
    values = [None, True, 0, -1.5, "text", "line\nfeed \u00e9\u2028\U0001f600 \"", [], {}, [1, [2]],
              {"cmd": "NODE_"}, {"a": {"b": None}}, "x" * 800_004]
    for value in values:
        primary.say("send", 1, value)
    for value in values:
        wait_until(lambda v=value: ["message", 1, v, None] in primary.events, "it to come back")
    assert [e[2] for e in primary.find("message", 1)] == values
    primary.say("disconnect")
    primary.wait("exit", 1, 0)


def answers(port):
    with socket.create_connection(("127.0.0.1", port), 20 * SLOW) as s:
        return s.makefile().read()


@ways
def test_socket_to_worker(node_primary, way):
    """A connection of the primary's goes to the worker; server.close() at the primary ends then."""
    primary = node_primary(way, "rr", "tcp://127.0.0.1:0")
    primary.fork()
    pid = connect(port_of(primary, 1))[1]
    primary.say("hand", 1, "socket", {"take": "hold"})
    s, served_by = connect(primary.wait("port")[1])
    assert served_by == pid
    assert primary.wait("connections")[1] == 1
    assert not primary.find("closed")
    s.close()
    primary.wait("closed")
    primary.say("disconnect")
    primary.wait("exit", 1, 0)


@ways
def test_handles_to_worker(node_primary, way):
    """A server and a udp socket: the worker goes on when the primary has closed its own."""
    primary = node_primary(way, "rr", "tcp://127.0.0.1:0")
    primary.fork()
    s, pid = connect(port_of(primary, 1))
    s.close()
    for count, kind in enumerate(("server", "udp"), 1):
        primary.say("hand", 1, kind, {"take": kind})
        port = primary.wait("port", count=count)[1]
        primary.wait("closed", count=count)
        assert (int(answers(port)) if kind == "server" else udp_pid(port)) == pid
    primary.say("disconnect")
    primary.wait("exit", 1, 0)


@ways
def test_handles_from_worker(node_primary, way):
    """A socket, a server and a udp socket of the worker's, which the primary uses."""
    primary = node_primary(way, "rr", "tcp://127.0.0.1:0")
    primary.fork()
    primary.say("send", 1, {"give": "socket"})
    primary.wait("message", 1, {"given": "socket"}, "Socket")
    primary.wait("message", 1, {"read": "from the primary"})
    primary.say("send", 1, {"give": "server"})
    port = primary.wait("message", 1, None, "Server")[2]["given"]
    assert answers(port) == "from the primary"
    primary.say("send", 1, {"give": "udp"})
    port = primary.wait("message", 1, None, "Socket", count=2)[2]["given"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(20 * SLOW)
        s.sendto(b"?", ("127.0.0.1", port))
        assert s.recv(64) == b"from the primary"
    primary.say("kill", 1, "SIGKILL")  # the primary holds a server and a socket of its own now
    primary.wait("exit", 1)
    primary.process.kill()
    primary.process.wait()


# ---- leaving ----


@ways
@policies
def test_disconnect_waits(node_primary, way, policy, port):
    """worker.disconnect(): nothing new, but what is served is finished."""
    primary = node_primary(way, policy, f"tcp://127.0.0.1:{port}")
    primary.fork()
    s, _ = connect(port)
    primary.say("disconnect", 1)
    wait_until(lambda: is_refused(port), "the port to be closed")
    primary.say("fork")
    primary.wait("listening", 2)
    assert not primary.find("disconnect", 1) and not primary.find("exit", 1)
    s.close()
    primary.wait("exit", 1, 0, None, True)
    primary.say("disconnect")
    primary.wait("exit", 2, 0)


@ways
@policies
def test_stop(node_primary, way, policy, port):
    """umbel_stop(): the primary knows that it was the worker's own wish."""
    primary = node_primary(way, policy, f"tcp://127.0.0.1:{port}")
    primary.fork(2)
    s, pid = connect(port)
    for number in (1, 2):
        primary.say("send", number, "stop")
    wait_until(lambda: is_refused(port), "the port to be closed")
    s.close()
    for number in (1, 2):
        primary.wait("disconnect", number, True)
        primary.wait("exit", number, 0, None, True)


@ways
def test_exit_codes(node_primary, way, port):
    """What a worker ends with is what Node hears, and it is not taken for its wish."""
    primary = node_primary(way, "rr", f"tcp://127.0.0.1:{port}")
    primary.fork(4)
    served = pids(port, 8)
    primary.say("send", 1, "crash")
    primary.wait("exit", 1, 3, None, False)
    primary.say("kill", 2, "SIGKILL")
    primary.wait("exit", 2, None, "SIGKILL", False)
    primary.say("kill", 3, "SIGTERM")  # umbel_run() takes it for umbel_stop(); the shim has no say
    primary.wait("exit", 3, *((None, "SIGTERM", False) if way == "shim" else (0, None, True)))
    left = wait_until(lambda: [p for p in served if p in marked(primary.token)][:1], "one")
    wait_until(lambda: len([p for p in served if p in marked(primary.token)]) == 1,
               "the programs of killed workers to end")
    os.kill(left[0], signal.SIGKILL)
    primary.wait("exit", 4, None, "SIGKILL", False)


@ways
@policies
def test_primary_dies(node_primary, way, policy, port):
    """Its workers leave; who is served is served to the end."""
    primary = node_primary(way, policy, f"tcp://127.0.0.1:{port}")
    primary.fork(2)
    s, pid = connect(port)
    primary.process.kill()
    primary.process.wait()
    wait_until(lambda: pids_of_program(primary) == {pid}, "the idle worker to leave")
    wait_until(lambda: is_refused(port), "both to have left the port")
    s.close()
    wait_until(lambda: not marked(primary.token), "the other one to leave")


def pids_of_program(primary):
    found = set()
    for pid in marked(primary.token):
        try:
            if os.readlink(f"/proc/{pid}/exe").endswith("/under_node"):
                found.add(pid)
        except OSError:
            pass
    return found


@ways
def test_advanced_is_refused(node_primary, way):
    """One line that names the setting, and exit status 1."""
    primary = node_primary(way, "rr", "tcp://127.0.0.1:0", settings={"serialization": "advanced"})
    primary.say("fork")
    primary.wait("exit", 1, 1)
    assert "serialization: 'json'" in primary.wait_error("advanced")
    assert len(primary.errors) == 1


def test_shim_without_program(node_primary):
    primary = node_primary("shim", "rr", program="/no/such/program")
    primary.say("fork")
    primary.wait("exit", 1, 127)
    primary.wait_error("umbel-shim: cannot start /no/such/program: ENOENT")


def test_shim_alone():
    done = subprocess.run([NODE, ROOT / "src/node/shim.cjs"], capture_output=True, text=True,
                          timeout=20 * SLOW)
    assert done.returncode == 2 and "setupPrimary" in done.stderr


# ---- all of it ----


class Load:
    """Connections one after the other in each thread; a lost one is counted and tried again."""

    def __init__(self, port, count, threads=4):
        self.port, self.left, self.served, self.lost = port, itertools.count(), Counter(), 0
        self.count, self.lock = count, threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while next(self.left) < self.count:
            while True:
                try:
                    s, pid = connect(self.port)
                    s.close()
                    break
                except (OSError, ValueError):
                    with self.lock:
                        self.lost += 1
            with self.lock:
                self.served[pid] += 1

    def wait(self):
        for thread in self.threads:
            thread.join(60 * SLOW)
        assert not any(thread.is_alive() for thread in self.threads)


@pytest.mark.deadline(120)
@policies
@pytest.mark.parametrize("way", ["execPath", "shim"])
def test_acceptance(node_primary, way, policy, port):
    """3 workers serve 10,000 requests, with sanitizers 4,000, each of them is killed once and followed by
    another; in the end they disconnect, and nothing is left."""
    quarter = 1000 if is_sanitized() else 2500
    primary = node_primary(way, policy, f"tcp://127.0.0.1:{port}")
    primary.say("respawn")
    primary.fork(3)
    total = Counter()
    before = primary.descriptors()
    for number in (1, 2, 3):
        # A quarter, then a death. With its own policy Node may lose for ever a connection that is
        # on its way to a dying worker (docs/PROTOCOL.md), so nothing is on its way then.
        load = Load(port, quarter)
        load.wait() if policy == "rr" else wait_until(lambda: sum(load.served.values()) > quarter / 3, "load")
        os.kill(primary.pid_of(number), signal.SIGKILL)
        primary.wait("exit", number, None, "SIGKILL")
        primary.wait("listening", number + 3)
        load.wait()
        assert load.lost <= 4  # one for each client: those that the dead one held
        total += load.served
    load = Load(port, quarter)
    load.wait()
    total += load.served
    assert sum(total.values()) == 4 * quarter and load.lost == 0
    assert len(total) == 6 if policy == "rr" else len(total) >= 3
    assert primary.descriptors() == before
    primary.say("disconnect")
    for number in (4, 5, 6):
        primary.wait("exit", number, 0, None, True)
    assert is_refused(port)
    assert primary.end() == 0
    assert not marked(primary.token)
    print(f"{policy} {way}: {dict(total)}")


def test_example(port, environment):
    """examples/node-primary, as its first lines say."""
    program = EXAMPLES / "hello_http"
    if not program.exists():
        pytest.skip("examples/hello_http was not built: libmicrohttpd is not here")
    with subprocess.Popen([NODE, ROOT / "examples/node-primary/primary.js", program, str(port)],
                          stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert re.match(rf"worker \d+ listens on port {port}", process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), 20 * SLOW) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert "hello from worker" in s.makefile().read()
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(20 * SLOW) == 0
        assert not re.search(r"ended: (?!0)", rest)
