"""Who gets a connection, and what becomes of it when he cannot take it."""
import os
import select
import signal
import socket
import time
from collections import Counter

from harness import SLOW, stat, wait_until

WINDOW = 4  # connections that a Node worker may have unanswered


class Clients:
    """Connections to tcp.js, which tells each the pid that took it."""

    def __init__(self, port):
        self.port, self.sockets, self.pids = port, [], {}

    def open(self, count):
        for _ in range(count):
            self.sockets.append(socket.create_connection(("127.0.0.1", self.port)))

    def read(self):
        """{socket: pid} of those that were told by now."""
        waiting = [s for s in self.sockets if s not in self.pids]
        for s in select.select(waiting, [], [], 0)[0]:
            line = s.recv(100)
            assert line.endswith(b"\n"), f"a connection was dropped ({line})"
            self.pids[s] = int(line)
        return self.pids

    def wait(self, count, timeout=10):
        wait_until(lambda: len(self.read()) >= count, f"{count} of {len(self.sockets)} connections "
                   "to be taken", timeout)

    def by_pid(self):
        return Counter(self.pids.values())

    def close(self):
        for s in self.sockets:
            s.close()


def fill_a_stopped_worker(run, port, count=40):
    """Stops the worker in slot 2 and opens connections. Returns when only those are unanswered that
    he was given: (clients, pids)."""
    pids = run.wait_listening(2)
    os.kill(pids[2], signal.SIGSTOP)
    clients = Clients(port)
    clients.open(count)
    clients.wait(count - WINDOW)
    clients.open(WINDOW + 1)  # these were accepted last: one of them is answered after all others
    clients.wait(count + 1)
    assert clients.by_pid().keys() == {pids[1]}
    assert 1 <= len(clients.sockets) - len(clients.pids) <= WINDOW
    return clients, pids


def test_a_stopped_worker_holds_up_its_window_only(umbel, port):
    run = umbel("-n", 2, "--", "node", "tcp.js", port)
    clients, pids = fill_a_stopped_worker(run, port)
    held = len(clients.sockets) - len(clients.pids)
    os.kill(pids[2], signal.SIGCONT)
    clients.wait(len(clients.sockets))
    assert clients.by_pid()[pids[2]] == held
    assert run.slots() == pids
    clients.close()


def test_what_a_killed_worker_had_not_taken_goes_to_another(umbel, port):
    run = umbel("-n", 2, "--", "node", "tcp.js", port)
    clients, pids = fill_a_stopped_worker(run, port)
    os.kill(pids[2], signal.SIGKILL)
    clients.wait(len(clients.sockets))
    assert pids[2] not in clients.by_pid()
    successor = run.wait_successor(2, pids[2])
    clients.open(10)
    clients.wait(len(clients.sockets))
    assert clients.by_pid()[successor] >= 4
    clients.close()


def test_all_stopped(umbel, port):
    """Nobody takes anything: clients wait, and are served when somebody comes back."""
    run = umbel("-n", 2, "--", "node", "tcp.js", port)
    pids = run.wait_listening(2)
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    clients = Clients(port)
    clients.open(100)
    os.kill(pids[1], signal.SIGCONT)
    clients.wait(100 - WINDOW)
    os.kill(pids[2], signal.SIGCONT)
    clients.wait(100)
    assert 1 <= clients.by_pid()[pids[2]] <= WINDOW
    clients.close()


def test_refused_connections_move_on(umbel, port):
    """server.maxConnections: such a worker answers accepted:false."""
    run = umbel("-n", 2, "--", "node", "tcp.js", port, 1)
    pids = run.wait_listening(2)
    clients = Clients(port)
    for i in range(1, 21):  # one after the other: his window never hides his limit
        clients.open(1)
        clients.wait(i)
    assert clients.by_pid() == {pids[1]: 1, pids[2]: 19}
    clients.close()


def test_refused_by_all_is_no_busy_loop(umbel, port):
    """Then a client waits or is closed; what must not happen is that he is offered for ever."""
    run = umbel("-n", 1, "--", "node", "tcp.js", port, 1)
    pid = run.wait_listening(1)[1]
    first, second = Clients(port), Clients(port)
    first.open(1)
    first.wait(1)
    second.open(1)

    def cpu():
        return sum(map(int, stat(run.pid)[11:13])) / os.sysconf("SC_CLK_TCK")

    before, begin = cpu(), time.monotonic()
    wait_until(lambda: time.monotonic() - begin > 1, "a second to pass")
    assert cpu() - before < 0.3 * SLOW
    first.close()
    second.close()

    def is_served():  # he has seen that the first is gone
        with socket.create_connection(("127.0.0.1", port)) as s:
            return s.recv(100) == f"{pid}\n".encode()

    wait_until(is_served, "a place for another")


def test_clients_that_leave_early(umbel, port):
    run = umbel("-n", 2, "--", "node", "tcp.js", port)
    pids = run.wait_listening(2)
    for _ in range(200):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
        s.connect(("127.0.0.1", port))
        s.close()
    clients = Clients(port)

    def both_serve():  # one may still have its window full of those
        clients.open(2)
        clients.wait(len(clients.sockets))
        return clients.by_pid().keys() == set(pids.values())
    wait_until(both_serve, "both to serve")
    assert run.slots() == pids
    clients.close()
