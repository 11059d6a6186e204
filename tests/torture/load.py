"""Clients that load one port, and what the kernel says about it meanwhile. Loopback only."""
import re
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import network
from app import BUILD, SLOW
from crowd import Load, Stream, addresses
from harness import wait_until

COUNTERS = ["ListenOverflows", "ListenDrops", "OutRsts"]
HARM = ["EstabResets", "AttemptFails", "TCPAbortOnClose", "TCPAbortOnData"]
EVIDENCE = [*HARM, "RetransSegs"]

LATE = 2  # acknowledgements that the kernel put off all the same (network.py)

SYN_RECV, LISTEN = 3, 10


class Kernel:
    """What the kernel has counted between two moments: made, and end(). Other processes count too, unless
    the network namespace is our own."""

    def __init__(self, *names):
        self.names = names or COUNTERS
        self.before, self.counted = self._read(), None

    @staticmethod
    def _read():
        found = {}
        for name in ("netstat", "snmp"):
            lines = Path("/proc/self/net", name).read_text().splitlines()
            for names, values in zip(lines[::2], lines[1::2]):
                found.update(zip(names.split()[1:], values.split()[1:]))
        return {name: int(found[name]) for name in COUNTERS + EVIDENCE}

    def end(self):
        """Before the client ends, which resets connections."""
        now = self._read()
        self.counted = {name: now[name] - self.before[name] for name in now}

    def check(self, context=""):
        """Nothing may have been counted; returns this as text. context is said when it is not so."""
        if not network.is_private():
            return "kernel not asked (no network namespace of our own)"
        text = ", ".join(f"{name} {self.counted[name]}" for name in self.names)
        bad = [name for name in self.names if self.counted[name]]
        # A segment that came twice or late and finds its connection over is answered with a reset that
        # harms nobody: nothing was established, nothing was aborted.
        late = self.counted["RetransSegs"] + LATE
        if bad == ["OutRsts"] and self.counted["OutRsts"] <= late and \
                not any(self.counted[name] for name in HARM):
            return f"{text} (answers to segments sent twice, {self.counted['RetransSegs']} of them, or late)"
        assert not bad, f"the kernel counted {self.counted}\n{context}"
        return text


def connections(port):
    """How many to this port are open, on either side, or have something to say yet."""
    at_rest = {"05", "06", "0A"}  # FIN_WAIT2, TIME_WAIT, LISTEN
    count = 0
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/self/net", name).read_text().splitlines()[1:]:
            _, ours, theirs, state = line.split()[:4]
            count += state not in at_rest and f"{port:04X}" in (ours[-4:], theirs[-4:])
    return count


def _in_state(port, state):
    """Sockets with that local port, by sock_diag(7): /proc/net/tcp takes seconds when 100,000 have ended."""
    netlink_sock_diag, by_family, request_dump, done = 4, 20, 0x301, 3
    count = 0
    for family in (socket.AF_INET, socket.AF_INET6):
        request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << state)
        request += struct.pack("!H", port) + bytes(46)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink_sock_diag) as s:
            s.send(struct.pack("=IHHII", 16 + len(request), by_family, request_dump, 1, 0) + request)
            kind = by_family
            while kind == by_family:
                said = s.recv(1 << 16)
                while said and kind == by_family:
                    length, kind = struct.unpack_from("=IH", said)
                    count += kind == by_family
                    said = said[(length + 3) & ~3:]
            assert kind == done, f"sock_diag: message {kind}"
    return count


def half_open(port):
    """Handshakes with this port that are not over, or whose client has to speak first."""
    return _in_state(port, SYN_RECV)


def listening(port):
    """Sockets: the door and the sides."""
    return _in_state(port, LISTEN)


def wait_quiet(port):
    """A client that ends resets connections a moment later too; they are not the next one's."""
    wait_until(lambda: connections(port) == 0, f"the connections to port {port} to end")


def number(pattern, text):
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


class Wrk:
    """Sends the next request when the one before is answered, on connections that stay open, or on one
    for each request."""

    def __init__(self, port, closes=False, connections=32):
        header = ["-H", "Connection: close"] if closes else []
        # 30 s: a request that was lost must not be taken for a slow one.
        self.process = subprocess.Popen(
            ["wrk", f"-c{connections}", "-t1", "-d3600s", "--timeout", "30s", *header,
             f"http://127.0.0.1:{port}/"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def stop(self):
        """It resets connections at its end: look at the kernel's counters first."""
        for _ in range(30 * SLOW):
            self.process.send_signal(signal.SIGINT)  # ignored as long as it is starting
            try:
                said, _ = self.process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                pass
        else:
            self.process.kill()
            raise AssertionError("wrk does not end")
        done = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m|h),", said)
        assert done, f"wrk: {said}"
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
        failed = sum(map(int, errors.groups())) if errors else 0
        failed += number(r"Non-2xx or 3xx responses: (\d+)", said)
        seconds = float(done[2]) * {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}[done[3]]
        return Load(int(done[1]), failed, seconds, said)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def many_addresses(port, parallel=16):
    """Clients of many addresses, which sticky gives to all slots; wrk and ab are one client to it."""
    return Stream(port, parallel, sources=addresses(64))


class Ab:
    """One connection for each request (HTTP/1.0), in rounds: it is never interrupted."""

    ROUND = 4000

    def __init__(self, port, connections=32):
        self.command = ["ab", "-q", "-l", "-r", "-s", "30", "-n", str(self.ROUND), "-c", str(connections),
                        f"http://127.0.0.1:{port}/"]
        self.requests = self.failed = 0
        self.said, self.over = "", threading.Event()
        self.thread = threading.Thread(target=self._go)
        self.thread.start()

    def _go(self):
        while not self.over.is_set():
            done = subprocess.run(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, stdin=subprocess.DEVNULL)
            complete = number(r"Complete requests:\s+(\d+)", done.stdout)
            self.requests += complete
            self.failed += number(r"Failed requests:\s+(\d+)", done.stdout)
            self.failed += number(r"Non-2xx responses:\s+(\d+)", done.stdout)
            if done.returncode or complete != self.ROUND:
                self.failed += max(self.ROUND - complete, 1)
                self.said = done.stdout
                return

    def stop(self):
        self.over.set()
        self.thread.join()
        return Load(self.requests, self.failed, 0, self.said)

    def kill(self):
        self.stop()


CLIENTS = {
    "keep-alive": Wrk,
    "closing": lambda port: Wrk(port, closes=True),
    "ab": Ab,
}


class OpenLoop:
    """A constant rate, whether or not the requests before are answered (bench/open_loop.c)."""

    def __init__(self, port, rate, seconds):
        self.seconds = seconds
        self.process = subprocess.Popen([BUILD / "bench" / "open_loop", str(port), str(rate), str(seconds)],
                                        stdout=subprocess.PIPE, text=True)

    def is_running(self):
        return self.process.poll() is None

    def result(self):
        """(sent, failed, 99th percentile in ms)"""
        said, _ = self.process.communicate(timeout=(self.seconds + 30) * SLOW)
        assert self.process.returncode == 0, "open_loop failed"
        sent, answered, _, p99, _ = said.split()
        return int(sent), int(sent) - int(answered), float(p99)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def closed_loop(port, clients, seconds):
    """(answered, failed, 99th percentile in ms) of clients that each wait for an answer before the next request
    (bench/closed_loop.c); their time counts from connect(2), and so do those who still wait at the end."""
    said = subprocess.run([BUILD / "bench" / "closed_loop", str(port), str(clients), str(seconds)],
                          stdout=subprocess.PIPE, text=True, check=True, timeout=(seconds + 60) * SLOW).stdout
    answered, failed, _, _, p99 = map(float, said.split())
    return int(answered), int(failed), p99


class loading:
    """`with loading(client):` ends the client when something else goes wrong."""

    def __init__(self, *clients):
        self.clients = clients

    def __enter__(self):
        return self.clients[0] if len(self.clients) == 1 else self.clients

    def __exit__(self, kind, *_):
        if kind:
            for client in self.clients:
                client.kill()
