"""Contract: who is disconnected, in what order, and what goes on meanwhile. Each test has the name of
Node's own."""
import socket

from contract import both, primary, start_primary  # noqa: F401
from harness import SLOW, is_refused
from test_contract_life import Server, obey

LEFT = (0, None, True)


def connect(port):
    return socket.create_connection(("127.0.0.1", port), 20 * SLOW)


def echo(client, text="hello"):
    """Whether somebody serves that connection."""
    client.sendall(text.encode())
    return client.recv(100).decode() == text


def serve(worker, port=0):
    """The port where it does."""
    worker.send(["serve", port])
    return worker.next("listening")["port"]


# ---- the whole cluster ----

def test_disconnect_with_no_workers(both):
    """disconnect() of nobody calls back as well."""
    def scenario(primary):
        primary.disconnect()
        primary.wait_disconnected()
        return primary.listed()

    assert both(scenario)["result"] == []


def test_disconnect(both):
    """Eight workers with two servers each serve and are disconnected, and all that once more."""
    def scenario(primary):
        primary.setup("obey.js")
        for count in (1, 2):
            workers = [primary.fork() for _ in range(8)]
            for worker in workers:
                assert worker.message() == "ready"
            ports = [{serve(worker) for worker in workers} for _ in range(2)]
            assert list(map(len, ports)) == [1, 1]
            [first], [second] = ports
            for port in (first, second) * 8:
                with connect(port) as client:
                    assert echo(client)
            primary.disconnect()
            primary.wait_disconnected(count)
            assert [worker.wait_gone() for worker in workers] == [LEFT] * 8
            assert is_refused(first) and is_refused(second)
            assert primary.listed() == []

    both(scenario)


def test_disconnect_idle_worker(primary):
    """disconnect() right after fork(). To one that has not spoken ours sends the signal to stop: it may
    be a program that never will."""
    [worker] = primary.start("obey.js", stop_signal="SIGTERM")
    primary.disconnect()
    primary.wait_disconnected()
    assert worker.wait_gone() == (LEFT if primary.kind == "node" else (None, "SIGTERM", True))
    assert primary.listed() == []


def test_disconnect_before_exit(both):
    """The cluster is disconnected while a worker is already, but lives on: the callback waits for it."""
    def scenario(primary):
        [worker] = obey(primary)
        with Server() as server:
            client = server.hold(worker)
            worker.send(["disconnect"])
            worker.next("disconnect")
            primary.disconnect()
            shown = worker.show(), ["disconnected"] in primary.events()
            client.close()
        primary.wait_disconnected()
        return shown, worker.next("exit"), primary.listed()

    shown = {"connected": False, "dead": False, "exitedAfterDisconnect": True}
    assert both(scenario)["result"] == [[shown, False], list(LEFT), []]


def test_disconnect_callback(primary):
    """The callback comes when all are gone. Node's comes with the first exit."""
    workers = obey(primary, 3)
    with Server() as server:
        clients = [server.hold(worker) for worker in workers[1:]]
        primary.disconnect()
        workers[0].wait_gone()
        for worker in workers[1:]:
            worker.next("disconnect")
        if primary.kind == "node":
            primary.wait_disconnected()
        for worker, client in zip(workers[1:], clients):
            assert not worker.show()["dead"]
            assert (["disconnected"] in primary.events()) == (primary.kind == "node")
            client.close()
            worker.next("exit")
    primary.wait_disconnected()
    if primary.kind == "umbel":
        assert primary.events()[-1] == ["disconnected"]


def test_concurrent_disconnect(primary):
    """Workers are asked to leave many times, one by one and all together: each leaves once. Node's
    primary tells a worker each time, and some die of it."""
    workers = obey(primary, 8)
    for worker in workers:
        serve(worker)
    for worker in workers:
        worker.disconnect()
        worker.disconnect()
    primary.disconnect()
    for worker in workers:
        worker.disconnect()
    ends = [worker.wait_gone() for worker in workers]
    assert {(signal, asked) for _, signal, asked in ends} == {LEFT[1:]}
    if primary.kind == "umbel":
        assert ends == [LEFT] * 8
    primary.wait_disconnected()
    assert not [e for e in primary.events() if e[0] == "error" and e[2] not in ("EPIPE", "ECONNRESET")]


# ---- one worker ----

def test_worker_disconnect(both):
    """Asked by the primary: disconnect, then an end of the worker's own choice, and all flags right."""
    def scenario(primary):
        [worker] = obey(primary)
        serve(worker)
        worker.send(["exit then", 42])
        worker.disconnect()
        return worker.wait_gone(), worker.show(), primary.listed()

    dead = {"connected": False, "dead": True, "exitedAfterDisconnect": True}
    assert both(scenario)["result"] == [[42, None, True], dead, []]


def test_disconnect_exitedAfterDisconnect_race(both):
    """A worker's own disconnect(): 'disconnect' is told it when the primary has said that it knows."""
    def scenario(primary):
        [worker] = obey(primary)
        worker.send(["disconnect and exit"])
        return worker.wait_gone()

    assert both(scenario)["result"] == list(LEFT)


def test_worker_no_exit(both):
    """A disconnected worker lives as long as it has a connection to somewhere."""
    def scenario(primary):
        [worker] = obey(primary)
        with Server() as server:
            client = server.hold(worker)
            worker.disconnect()
            worker.next("disconnect")
            dead = worker.show()["dead"]
            client.close()
        return dead, worker.next("exit")

    assert both(scenario)["result"] == [False, list(LEFT)]


def test_worker_no_exit_for_ever(start_primary):
    """What Node has not: one that has drained gets the stop signal, and SIGKILL after its grace."""
    primary = start_primary("umbel")
    for signal in ("SIGTERM", "SIGKILL"):
        [worker] = obey(primary, grace_ms=25000 if signal == "SIGTERM" else 500,
                        stop_signal="SIGTERM" if signal == "SIGTERM" else "SIGCONT")
        with Server() as server, server.hold(worker):
            worker.disconnect()
            assert worker.wait_gone() == (None, signal, True)


def test_worker_wait_server_close(both):
    """A disconnected worker is there until the connections of its servers have ended; new ones are
    refused."""
    def scenario(primary):
        [worker] = obey(primary)
        port = serve(worker)
        assert worker.ask(["tell disconnect"]) == "listens"
        with connect(port) as client:
            assert echo(client)
            worker.disconnect()
            assert worker.message() == "asked"
            assert is_refused(port)
            assert echo(client)
            assert not worker.has("disconnect")
        return worker.wait_gone()

    assert both(scenario)["result"] == list(LEFT)


def test_disconnect_leak(primary):
    """Shared sockets: one that is disconnected while it asks for its port leaves."""
    [worker] = obey(primary, policy="none")
    worker.send(["serve", 0])
    worker.disconnect()
    assert worker.wait_gone() == LEFT


def test_disconnect_race(primary):
    """Shared sockets: one is disconnected while another that is to leave at once begins."""
    [first] = primary.start("serves.js", policy="none")
    first.next("listening")
    second = primary.fork()
    second.next("online")
    first.disconnect()
    second.disconnect()
    assert [worker.wait_gone() for worker in (first, second)] == [LEFT] * 2


def test_disconnect_unshared_tcp(both):
    """Shared sockets: disconnecting one that shares nothing does not disturb the one that does."""
    def scenario(primary):
        unbound, bound = obey(primary, 2, policy="none")
        port = serve(bound)
        unbound.disconnect()
        unbound.wait_gone()
        with connect(port) as client:
            return echo(client)

    assert both(scenario)["result"] is True


def test_disconnect_unshared_udp(both):
    """As with TCP."""
    def scenario(primary):
        unbound, bound = obey(primary, 2)
        bound.send(["bind", 0])
        port = bound.next("listening")["port"]
        unbound.disconnect()
        unbound.wait_gone()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(20 * SLOW)
            s.sendto(b"hello", ("127.0.0.1", port))
            return s.recv(100).decode()

    assert both(scenario)["result"] == "hello"
