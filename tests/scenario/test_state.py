"""What workers do not share, and the ways round: sessions in memory, in Redis, and by a chooser of one's own
(docs/STATE.md)."""
import http.client
import os
import shutil
import signal
import socket
import subprocess
from collections import Counter

import pytest
from c_programs import EXAMPLES, TESTS, program  # noqa: F401
from control import verb
from harness import ROOT, SLOW, get, is_refused, wait_until

REDIS = ROOT / "examples" / "redis"
IN_TURN = list(range(1, 7))


class Client:
    """A browser that opens a connection for each request: an address and a cookie."""

    def __init__(self, port, address="127.0.0.1", cookie=None):
        self.port, self.source, self.cookie = port, (address, 0), cookie

    def get(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, 20 * SLOW, source_address=self.source)
        headers = {"Connection": "close"} | ({"Cookie": self.cookie} if self.cookie else {})
        try:
            connection.request("GET", "/", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200
            if cookie := answer.getheader("Set-Cookie"):
                self.cookie = cookie.partition(";")[0]
            return answer.read().decode().strip()
        finally:
            connection.close()


def tell(port, address="127.0.0.1", line=""):
    """A line of its own to a program that speaks no HTTP, and what it says."""
    with socket.create_connection(("127.0.0.1", port), 20 * SLOW, source_address=(address, 0)) as s:
        if line:
            s.sendall(line.encode())
        return b"".join(iter(lambda: s.recv(4096), b"")).decode().strip()


def visits(asks):
    """Each of them asks in turn: ({number of the client: its counts}, who answered)."""
    counts, workers = {n: [] for n in range(len(asks))}, set()
    for _ in IN_TURN:
        for n, ask in enumerate(asks):
            count, _, worker = ask().partition(" by ")
            counts[n].append(int(count))
            workers.add(worker)
    return counts, workers


def addresses(count):
    """Of so many clients; an odd number, or in turn each would meet the same worker again and again."""
    return [f"127.0.{n}.{n + 1}" for n in range(count)]


def wait_somebody(run, port):
    """A primary of its own that says nothing: somebody listens."""
    def listens():
        assert run.process.poll() is None, run.output()
        return not is_refused(port)

    wait_until(listens, "somebody to listen")


# ---- in memory ----


def test_a_counter_in_memory_counts_under_sticky(umbel, port):
    run = umbel("-n", 3, "--policy", "sticky", "--", "node", "counter.js", port)
    run.wait_listening(3)
    counts, workers = visits([Client(port, address).get for address in addresses(13)])
    assert counts == dict.fromkeys(counts, IN_TURN)
    assert len(workers) > 1, "it is no test when one worker has them all"


def test_a_counter_in_memory_does_not_under_rr(umbel, port):
    run = umbel("-n", 2, "--policy", "rr", "--", "node", "counter.js", port)
    run.wait_listening(2)
    client = Client(port)
    counts, workers = visits([client.get])
    assert counts[0] != IN_TURN and len(workers) == 2
    # The same program, the same client, one worker.
    assert verb(run, "scale", "counter", 1).returncode == 0
    run.wait_for(r"^umbel: slot 2 pid \d+ (left|exited|killed)")
    client.cookie = None
    assert visits([client.get])[0][0] == IN_TURN


def test_a_port_for_each_slot(umbel, port, other_port):
    """What a proxy needs that balances by itself. The port outlives the worker, like any other."""
    run = umbel("-n", 2, "--soak", "100ms", "--", "node", "counter.js", f"{port},{other_port}")
    pids = run.wait_listening(2)
    counts, _ = visits([Client(port).get, Client(other_port).get])
    assert counts == dict.fromkeys(counts, IN_TURN)
    assert [Client(p).get().partition(" by ")[2] for p in (port, other_port)] == [str(pids[1]), str(pids[2])]
    assert verb(run, "reload", "counter").returncode == 0
    now = run.wait_listening(2)
    assert not set(now.values()) & set(pids.values())
    assert [Client(p).get() for p in (port, other_port)] == [f"1 by {now[1]}", f"1 by {now[2]}"]


# ---- in Redis ----


@pytest.fixture
def redis(other_port, tmp_path):
    """The port of a Redis server of one's own, which keeps nothing."""
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not here")
    log = tmp_path / "redis.log"
    with log.open("w") as output:
        server = subprocess.Popen(["redis-server", "--port", str(other_port), "--bind", "127.0.0.1", "--save", "",
                                   "--appendonly", "no", "--dir", tmp_path], stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=subprocess.STDOUT)

    def answers():
        assert server.poll() is None, log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", other_port), 1) as s:
                s.sendall(b"PING\r\n")
                return s.recv(16) == b"+PONG\r\n"
        except OSError:
            return False

    try:
        wait_until(answers, "Redis")
        yield other_port
    finally:
        server.terminate()
        try:
            server.wait(10 * SLOW)
        finally:
            server.kill()


@pytest.fixture(scope="session")
def express():
    """The packages of examples/redis, as its lock file says."""
    wanted, have = REDIS / "package-lock.json", REDIS / "node_modules/.package-lock.json"
    if have.exists() and have.stat().st_mtime >= wanted.stat().st_mtime:
        return
    if not shutil.which("npm"):
        pytest.skip("npm is not here")
    done = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=REDIS, timeout=300,
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm ci in examples/redis: {done.stderr[-500:]}")


def test_express_sessions_in_redis(redis, umbel, port, express):
    """Under rr, under sticky, and after a reload: one session for each client."""
    run = umbel("-n", 2, "--name", "shop", "--policy", "rr", "--soak", "100ms", "--env",
                f"REDIS_URL=redis://127.0.0.1:{redis}", "--env", "SESSION_SECRET=for this test", "--",
                "node", "app.js", port, cwd=REDIS)
    before = run.wait_listening(2)
    clients = [Client(port, address) for address in addresses(7)]
    counts, workers = visits([client.get for client in clients])
    assert counts == dict.fromkeys(counts, IN_TURN)
    assert workers == {str(pid) for pid in before.values()}

    assert verb(run, "policy", "shop", "sticky").returncode == 0
    counts, workers = visits([client.get for client in clients])
    assert counts == dict.fromkeys(counts, [n + len(IN_TURN) for n in IN_TURN])
    assert len(workers) == 2

    assert verb(run, "reload", "shop").returncode == 0
    count, _, worker = clients[0].get().partition(" by ")
    assert int(count) == 2 * len(IN_TURN) + 1 and int(worker) not in before.values()
    assert run.stop() == 0
    # The connection to Redis is closed when a worker has drained: nobody had to be killed.
    assert len(run.find(r"^umbel: slot \d pid \d+ left")) == 4


@pytest.mark.parametrize("policy", ["rr", "sticky"])
def test_c_counts_in_redis(redis, umbel, port, policy):
    if not (EXAMPLES / "redis_counter").exists():
        pytest.skip("examples/redis_counter was not built: libhiredis is not here")
    run = umbel("-n", 2, "--policy", policy, "--", EXAMPLES / "redis_counter", port, redis)
    run.wait_listening(2)
    counts, workers = visits([lambda a=address: tell(port, a) for address in addresses(13)])
    assert counts == dict.fromkeys(counts, IN_TURN)
    assert workers == {"worker 1", "worker 2"}


def test_c_without_redis(umbel, port, other_port):
    """It says so, and serves on."""
    if not (EXAMPLES / "redis_counter").exists():
        pytest.skip("examples/redis_counter was not built: libhiredis is not here")
    run = umbel("-n", 1, "--", EXAMPLES / "redis_counter", port, other_port)
    run.wait_listening(1)
    assert [tell(port) for _ in range(2)] == ["Redis does not answer"] * 2


# ---- messages through the primary ----


def test_a_value_that_one_sets_all_know(program, port):  # noqa: F811
    run = program(EXAMPLES / "relay", 3, "node", "told.js", port)

    def known(value):
        """So many connections in a row that each worker is asked."""
        answers = [get(port).decode().split() for _ in range(6)]
        return len({pid for *_, pid in answers}) == 3 and {word for word, *_ in answers} == {value} and answers

    wait_somebody(run, port)
    wait_until(lambda: known("nothing"), "three workers to answer")
    get(port, "/set/blue")
    answers = wait_until(lambda: known("blue"), "the value to be known")
    os.kill(int(answers[0][2]), signal.SIGKILL)
    after = wait_until(lambda: known("blue"), "the successor to know it")
    assert {pid for *_, pid in after} != {pid for *_, pid in answers}
    assert run.stop() == 0


# ---- umbel_choose() ----


def wait_all(run, port, workers):
    """Each of so many has answered: all are there."""
    wait_somebody(run, port)
    seen = set()
    wait_until(lambda: seen.add(Client(port).get()) or len(seen) == workers, f"{workers} workers to answer")


def test_choose_by_cookie(program, port):  # noqa: F811
    run = program(EXAMPLES / "choose", port, 3)
    wait_all(run, port, 3)
    for slot in (3, 1, 2):
        client = Client(port, cookie=f"theme=dark; slot={slot}; x=1")
        assert Counter(client.get() for _ in range(20)) == {f"hello from worker {slot}": 20}
    # A client without a cookie gets one, and keeps to it.
    client = Client(port)
    first = client.get()
    assert client.cookie == f"slot={first.rpartition(' ')[2]}"
    assert {client.get() for _ in range(20)} == {first}
    assert run.stop() == 0
    assert is_refused(port)


def test_choose_goes_round_without_a_cookie_that_it_knows(program, port):  # noqa: F811
    run = program(EXAMPLES / "choose", port, 3)
    wait_all(run, port, 3)
    for cookie in [None, "slot=9", "slot=-1", "slot=", "xslot=1", "slot=99999999999999999999"]:
        seen = Counter(Client(port, cookie=cookie).get() for _ in range(6))
        assert seen == {f"hello from worker {slot}": 2 for slot in (1, 2, 3)}, cookie
    assert run.stop() == 0


def ids(port, count):
    return Counter(int(tell(port, line="who\n")) for _ in range(count))


def test_a_chooser_of_a_dead_worker_falls_back(program, port):  # noqa: F811
    run = program(TESTS / "pins", port, 2, 1)
    pids = run.wait_listening(2)
    assert ids(port, 10) == {1: 10}
    os.kill(pids[1], signal.SIGKILL)
    run.wait_for(rf"^umbel: slot 1 pid {pids[1]} killed")
    assert set(ids(port, 4)) <= {2, 3}
    run.wait_successor(1, pids[1])
    assert ids(port, 20) == {2: 10, 3: 10}
    assert run.stop() == 0


def test_a_chooser_of_nobody_falls_back(program, port):  # noqa: F811
    run = program(TESTS / "pins", port, 2, 4000000000)
    run.wait_listening(2)
    assert ids(port, 20) == {1: 10, 2: 10}
    assert run.stop() == 0
