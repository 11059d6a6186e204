"""Contract: what each form of listen() does, and who is given a connection. Each test has the name of
Node's own."""
import os
import resource
import socket
import struct
from collections import Counter

import pytest
from contract import VERSION, both, primary, start_primary, workers  # noqa: F401
from harness import SLOW, get, is_refused, wait_until

LOCAL = {"port": 0, "host": "127.0.0.1"}


def connect(where):
    """where: a port of 127.0.0.1, (host, port), or a path, of any length."""
    if isinstance(where, int):
        where = "127.0.0.1", where
    if isinstance(where, tuple):
        return socket.create_connection(where, 20 * SLOW)
    with socket.socket(socket.AF_UNIX) as s:
        directory = os.open(where.parent, os.O_PATH)
        try:
            s.connect(f"/proc/self/fd/{directory}/{where.name}")
        finally:
            os.close(directory)
        s.settimeout(20 * SLOW)
        return s.dup()


def greeting(where):
    """What a connection is told until its end: the worker's id."""
    with connect(where) as s:
        return b"".join(iter(lambda: s.recv(100), b"")).decode().strip()


def port_of(answer):
    return answer["listening"]["port"]


def backlog_of(port):
    """The backlog of the socket that listens there, as the kernel has it: sock_diag(7)."""
    request = struct.pack("=IHHIIBBBBI48x", 72, 20, 0x301, 1, 0, socket.AF_INET, socket.IPPROTO_TCP, 0,
                          0, 1 << 10)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as s:
        s.send(request)
        while data := s.recv(1 << 16):
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind != 20:
                    return None
                if struct.unpack_from(">H", data, 20)[0] == port:
                    return struct.unpack_from("=I", data, 16 + 4 + 48 + 8)[0]
                data = data[length + 3 & ~3:]


# ---- addresses ----


def test_net_listen(both):
    """listen(callback), without any address, is a port of the kernel's choice."""
    def scenario(primary):
        [worker] = workers(primary)
        return greeting(port_of(worker.ask(["listen", "a", None])))

    assert both(scenario)["result"] == "1"


def test_listening_port(both):
    """Port 0: the event carries the real one, every worker has the same."""
    def scenario(primary):
        ports = [port_of(w.ask(["listen", "a", LOCAL])) for w in workers(primary, 2)]
        told = [w.next("listening")["port"] for w in primary.workers.values()]
        assert ports == told and ports[0] == ports[1] > 0
        return Counter(greeting(ports[0]) for _ in range(4))

    assert both(scenario)["result"] == {"1": 2, "2": 2}


def test_net_listen_port_only(both, port):
    """A port without a host is [::] for both families."""
    def scenario(primary):
        answers = [w.ask(["listen", "a", {"port": port}]) for w in workers(primary, 2)]
        return answers, Counter(greeting((host, port)) for host in ("127.0.0.1", "::1") * 2)

    assert both(scenario)["result"][1] == {"1": 2, "2": 2}


def test_net_listen_backlog(both, port):
    """The backlog of listen() is that of the primary's socket."""
    if backlog_of(port) is not None:
        pytest.skip("somebody listens there")

    def scenario(primary):
        [worker] = workers(primary)
        worker.ask(["listen", "a", {"port": port, "host": "127.0.0.1", "backlog": 6}])
        return backlog_of(port)

    assert both(scenario)["result"] == 6


@pytest.mark.parametrize("policy", ["rr", "none"])
def test_net_listen_ipv6only_false(both, port, policy):
    """'::' without ipv6Only takes IPv4 too; three workers are told the same."""
    def scenario(primary):
        where = {"port": port, "host": "::"}
        answers = [w.ask(["listen", "a", where]) for w in workers(primary, 3, policy=policy)]
        assert answers[0] == answers[1] == answers[2]
        return answers[0], greeting(port) in "123"

    assert both(scenario)["result"][1]


@pytest.mark.parametrize("policy", ["none", "rr"])
def test_cluster_net_listen_ipv6only(both, port, policy):
    """ipv6Only: IPv4's same port stays free."""
    def scenario(primary):
        where = {"port": port, "host": "::", "ipv6Only": True}
        answers = [w.ask(["listen", "a", where]) for w in workers(primary, 3, policy=policy)]
        assert answers[0] == answers[1] == answers[2]
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("0.0.0.0", port))
        return answers[0], greeting(("::1", port)) in "123", is_refused(port)

    assert both(scenario)["result"][1:] == [True, True]


def test_net_listen_relative_path(both):
    """A relative path, in a directory whose absolute one is too long for a socket; the file is gone
    when its last worker is."""
    def scenario(primary):
        [worker] = workers(primary)
        answer = worker.ask(["listen", "a", {"path": "a.sock"}])
        told = greeting(primary.cwd / "a.sock")
        worker.send(["leave"])
        worker.wait_gone()
        wait_until(lambda: not os.listdir(primary.cwd), "the socket's file to go")
        return answer, told

    assert both(scenario, below="d" * 110)["result"] == [{"listening": "a.sock"}, "1"]


def test_net_listen_absolute_path(both):
    """An absolute path is shared; the file is gone when all workers are."""
    def scenario(primary):
        path = primary.cwd / "a.sock"
        answers = [w.ask(["listen", "a", {"path": str(path)}]) for w in workers(primary, 2)]
        told = Counter(greeting(path) for _ in range(4))
        for worker in primary.workers.values():
            worker.kill("SIGKILL")
            worker.wait_gone()
        wait_until(lambda: not path.exists(), "the socket's file to go")
        return answers, told

    assert both(scenario)["result"][1] == {"1": 2, "2": 2}


def test_listen_abstract_path(both, port):
    """A path that begins with NUL is an abstract name."""
    def scenario(primary):
        name = f"\0umbel-contract-{port}"
        [worker] = workers(primary)
        answer = worker.ask(["listen", "a", {"path": name}])
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20 * SLOW)
            try:
                s.connect(name)
            except ConnectionRefusedError:  # Node 20 fills it with NULs
                s.connect(name.ljust(108, "\0"))
            return answer, s.recv(10).decode().strip()

    assert both(scenario)["result"][1] == "1"


def test_listen_pipe_readable_writable(both):
    """readableAll and writableAll: everybody may connect. (Node 20 sets the bits of execution too.)"""
    def scenario(primary):
        [worker] = workers(primary)
        for name, options in (("plain", {}), ("all", {"readableAll": True, "writableAll": True})):
            worker.ask(["listen", name, {"path": f"{name}.sock", **options}])
        return [(primary.cwd / f"{name}.sock").stat().st_mode & 0o666 for name in ("plain", "all")]

    assert both(scenario)["result"][1] == 0o666


def test_http_pipe(both):
    """HTTP over a unix socket; there is no remoteAddress."""
    def scenario(primary):
        [worker] = workers(primary)
        worker.ask(["listen", "a", {"path": "a.sock"}, {"http": True}])
        with connect(primary.cwd / "a.sock") as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: s.recv(1000), b"")).partition(b"\r\n\r\n")[2].decode()

    assert both(scenario)["result"] == "1 unknown"


# ---- the same port more than once ----


@pytest.mark.parametrize("policy", ["none", "rr"])
def test_server_restart(both, policy):
    """A worker closes its server and listens on port 0 again while another one has the first port."""
    def scenario(primary):
        one, two = workers(primary, 2, policy=policy)
        one.ask(["listen", "a", LOCAL])
        two.ask(["listen", "a", LOCAL])
        closed = two.ask(["close", "a"])
        two.ask(["listen", "b", LOCAL])
        return closed, two.ask(["close", "b"])

    both(scenario)


def test_child_index_net(both):
    """Two servers on port 0 in each worker, closed as soon as they listen, and again."""
    def scenario(primary):
        answers = []
        for worker in workers(primary, 2):
            first = [worker.ask(["listen", name, LOCAL, {"closeAtOnce": True}]) for name in "ab"]
            second = [worker.ask(["listen", name, LOCAL]) for name in "cd"]
            answers.append([sorted(a) for a in first + second])
            assert port_of(second[0]) != port_of(second[1])
        return answers

    both(scenario)


def test_cluster_listen_twice_same_port(both, port):
    """A worker listens on one address twice: EADDRINUSE for the second, the first one serves on."""
    def scenario(primary):
        where = {"port": port, "host": "127.0.0.1"}
        [worker] = workers(primary)
        answers = [worker.ask(["listen", name, where]) for name in "ab"]
        return answers, greeting(port), worker.ask(["close", "a"])

    result = both(scenario)["result"]
    assert result[0][1]["error"] == "EADDRINUSE"


def test_cluster_port_reuse_between_workers(primary, port):
    """After a second listen() that failed, the port can be had again, by this worker and others. A Node
    primary before 22 still takes the last one for another socket, and fails."""
    where = {"port": port, "host": "127.0.0.1"}
    one, two = workers(primary, 2)
    assert port_of(one.ask(["listen", "a", where])) == port
    assert one.ask(["listen", "b", where])["error"] == "EADDRINUSE"
    assert one.ask(["close", "a"]) == {"closed": "a"}
    assert port_of(two.ask(["listen", "a", where])) == port
    again = one.ask(["listen", "c", where])
    if primary.kind == "node" and VERSION < (22,):
        assert again["error"] == "EADDRINUSE"
    else:
        assert port_of(again) == port
        assert Counter(greeting(port) for _ in range(4)) == {"1": 2, "2": 2}


def test_net_listen_shared_ports(primary, port):
    """exclusive: false is shared by two workers; exclusive: true of a third one is EADDRINUSE."""
    where = {"port": port, "host": "127.0.0.1", "exclusive": False}
    one, two, three = workers(primary, 3)
    assert port_of(one.ask(["listen", "a", where])) == port
    assert port_of(two.ask(["listen", "a", where])) == port
    assert three.ask(["listen", "a", where | {"exclusive": True}])["error"] == "EADDRINUSE"
    assert Counter(greeting(port) for _ in range(4)) == {"1": 2, "2": 2}


def test_net_listen_exclusive_random_ports(primary):
    """exclusive with port 0: each worker has a port of its own. Node's primary hears nothing of it; ours
    is told by the preload, so that the worker counts as ready."""
    ports = [port_of(w.ask(["listen", "a", LOCAL | {"exclusive": True}])) for w in workers(primary, 2)]
    assert ports[0] != ports[1]
    assert [greeting(port) for port in ports] == ["1", "2"]
    if primary.kind == "umbel":
        for worker in primary.workers.values():
            worker.next("listening")
    else:
        assert not any(w.has("listening") for w in primary.workers.values())


def test_net_reuseport(primary, port):
    """reusePort: each worker binds its own socket, nothing goes through the primary; one worker may do it
    twice. Before 22.12 the option is not known, and the second listen() fails."""
    where = {"port": port, "host": "127.0.0.1", "reusePort": True}
    one, two = workers(primary, 2)
    answers = [w.ask(["listen", name, where]) for w, name in ((one, "a"), (one, "b"), (two, "a"))]
    assert port_of(answers[0]) == port_of(answers[2]) == port
    if VERSION >= (22, 12):
        assert port_of(answers[1]) == port
        if primary.kind == "node":
            assert not one.has("listening")
    else:
        assert answers[1]["error"] == "EADDRINUSE"
    assert greeting(port) in "12"


# ---- who is given a connection ----


def test_accept_fail(primary):
    """The primary has no descriptor left: it lives on and serves later. Node closes such a connection,
    ours leaves it to the kernel until it can be served."""
    [worker] = workers(primary)
    port = port_of(worker.ask(["listen", "a", LOCAL]))
    pid = primary.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    have = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
    free = min(set(range(len(have) + 1)) - have)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, before[1]))
    with connect(port) as s:
        if primary.kind == "node":
            assert s.recv(10) == b""
        assert worker.show()["connected"]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        if primary.kind == "umbel":
            assert s.recv(10) == b"1\n"
    assert greeting(port) == "1"


def test_net_server_drop_connection(both):
    """maxConnections: what one worker refuses another one gets. (0 means none since Node 21.)"""
    limits = [0, 1, 9] if VERSION >= (21,) else [1, 2, 7]

    def scenario(primary):
        three = workers(primary, 3)
        for worker, limit in zip(three, limits):
            worker.ask(["listen", "a", {"path": "a.sock"}, {"hold": True, "maxConnections": limit}])
        clients = [connect(primary.cwd / "a.sock") for _ in range(sum(limits))]
        told = Counter(s.recv(10).decode().strip() for s in clients)
        for s in clients:
            s.close()
        return told

    told = both(scenario)["result"]
    assert told == {str(i + 1): limit for i, limit in enumerate(limits) if limit}


@pytest.mark.skipif(VERSION < (22, 12), reason="dropMaxConnection came with Node 22.12")
@pytest.mark.parametrize("http", [False, True], ids=["net", "http"])
def test_net_server_drop_connections_in_cluster(both, http):
    """dropMaxConnection: the worker closes what is too much itself, and says 'drop'. (And Node's
    test-http-server-drop-connections-in-cluster.js.)"""
    def scenario(primary):
        [worker] = workers(primary)
        options = {"maxConnections": 0, "dropMaxConnection": True, "http": http}
        port = port_of(worker.ask(["listen", "a", LOCAL, options]))
        told = [greeting(port) for _ in range(3)]
        return told, worker.ask(["count", "a"])

    assert both(scenario)["result"] == [["", "", ""], {"connections": 0, "drops": 3}]


def test_worker_handle_close(both):
    """A connection that comes to a worker after its server.close() goes to another worker."""
    def scenario(primary):
        one, two = workers(primary, 2)
        port = port_of(one.ask(["listen", "a", LOCAL]))
        two.ask(["listen", "a", LOCAL])
        one.ask(["closing", "a", "go"])
        clients = [connect(port) for _ in range(4)]
        (primary.cwd / "go").touch()
        told = Counter(s.recv(10).decode().strip() for s in clients)
        for s in clients:
            s.close()
        return told

    assert both(scenario)["result"] == {"2": 4}


def test_shared_leak(both):
    """none: two workers that share a socket are disconnected while a connection lives."""
    def scenario(primary):
        one, two = workers(primary, 2, policy="none")
        port = port_of(one.ask(["listen", "a", LOCAL, {"hold": True}]))
        two.ask(["listen", "a", LOCAL, {"hold": True}])
        with connect(port) as s:
            assert s.recv(10).strip() in (b"1", b"2")
            primary.disconnect()
            wait_until(lambda: is_refused(port), "the port to be closed")
        return [w.wait_gone() for w in (one, two)]

    assert both(scenario)["result"] == [[0, None, True]] * 2


# ---- round robin's handle: what keeps a worker alive ----


def test_rr_handle_keep_loop_alive(both):
    """A server keeps its worker alive, though its channel is unref'ed."""
    def scenario(primary):
        [worker] = workers(primary)
        port = port_of(worker.ask(["listen", "a", LOCAL]))
        worker.ask(["unref-channel"])
        return [greeting(port) for _ in range(3)], worker.show()["dead"]

    assert both(scenario)["result"] == [["1"] * 3, False]


def test_rr_handle_close(both):
    """Once its server is closed, a worker whose channel is unref'ed ends."""
    def scenario(primary):
        [worker] = workers(primary)
        worker.ask(["listen", "a", LOCAL])
        worker.ask(["unref-channel"])
        worker.send(["close", "a"])
        return worker.wait_gone()

    assert both(scenario)["result"] == [0, None, False]


def test_rr_handle_ref_unref(both):
    """unref() of the server: nothing keeps the worker any more."""
    def scenario(primary):
        [worker] = workers(primary)
        worker.ask(["listen", "a", LOCAL])
        worker.ask(["unref-channel"])
        worker.send(["unref", "a"])
        return worker.wait_gone()

    assert both(scenario)["result"] == [0, None, False]


def test_rr_ref(both):
    """unref() and ref(), twice, then close(): it serves until then, and ends."""
    def scenario(primary):
        [worker] = workers(primary)
        port = port_of(worker.ask(["listen", "a", LOCAL]))
        worker.ask(["unref-channel"])
        worker.ask(["ref-twice", "a"])
        told = greeting(port)
        worker.send(["close", "a"])
        return told, worker.wait_gone()

    assert both(scenario)["result"] == ["1", [0, None, False]]


def test_rr_domain_listen(both):
    """listen() inside a domain."""
    def scenario(primary):
        [worker] = primary.start("domain.js")
        port = worker.message()["port"]
        return greeting(port)

    assert both(scenario)["result"] == "1"
