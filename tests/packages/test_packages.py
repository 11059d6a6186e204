"""Packages from npm, unmodified: each serves with both workers, is reloaded under load, and stops. What
needs a JavaScript primary cannot work; there the test says what happens, and the next one the way round."""
import http.client
import json
import os
import re
import subprocess
from collections import Counter

import pytest
from control import Events
from crowd import Stream
from harness import UMBEL, get, is_refused, wait_until, who
from helpers import BOTH, HERE, SOAK, Client, Load, check_own_primary, check_run, own_primary, reload, row

# What is started. `next build` and `vite build` have run before.
PROGRAMS = {
    "express": ("node", "apps/express.js"),
    "koa": ("node", "apps/koa.js"),
    "fastify": ("node", "apps/fastify.js"),
    "ws": ("node", "apps/ws.js"),
    "pino": ("node", "apps/pino.js"),
    "socket.io": ("node", "apps/socketio.js"),
    "throng": ("node", "apps/throng.js"),
    "@pm2/io": ("node", "apps/pm2_io.js"),
    "vite": ("node_modules/.bin/vite", "preview", "vite", "--strictPort", "--port"),
    "next": ("node_modules/.bin/next", "start", "next", "--port"),
}
PAGE_IS_NO_PID = ("vite", "next")
REMARKS = {
    "vite": "`umbel run -- node_modules/.bin/vite preview --strictPort --port N`",
    "next": "`umbel run -- node_modules/.bin/next start`",
    "ws": "A reload waits for open WebSockets, `--grace` at most (25 s). Shorten it; or close them on SIGTERM, with "
          "`--signal-first`: otherwise it comes only when none is open",
    "fastify": "umbel first drains: a worker that nothing but its servers kept alive ends before SIGTERM, "
               "without its handler, unless `--signal-first`",
    "pino": "A drained worker has 0.3 s to end by itself, with its 'exit' handlers, before SIGTERM; what may take "
            "longer wants a SIGTERM handler of its own",
    "throng": "Its `count`, `lifetime` and `master` belong to the primary: `-n` and umbel take their place",
    "socket.io": "Clients need `transports: ['websocket']`; what is emitted to all reaches those of the same "
                 "worker only, without an adapter that goes through a server of its own",
    "@pm2/io": "Nobody calls its actions: `pm2 trigger` asks PM2's primary",
}


@pytest.fixture
def start(umbel, port):
    """Two workers of a program of the list, or of other words, on port. The options are umbel's."""
    def start(name, *options, listening=2):
        words = PROGRAMS.get(name, ("node", name))
        if words[0] != "node":
            words = (*words, port)
        run = umbel("-n", 2, "--name", "app", "--soak", "200ms", "--env", f"PORT={port}", *options, "--", *words,
                    cwd=HERE)
        if listening:
            run.wait_listening(listening)
        return run
    return start


@pytest.mark.parametrize("name", [pytest.param(name, marks=row(name, BOTH, name, remark=REMARKS.get(name)))
                                  for name in PROGRAMS])
def test_serves_reloads_stops(start, port, name):
    check_run(start(name), port, pid=None if name in PAGE_IS_NO_PID else r"^(\d+)$")


# Started by a program that is no server: what it starts is met at bind(). A page that tells the server's pid.
LAUNCHED = {
    "next by npx": (("npx", "next", "start", "next", "--port"), "/pid", "next"),
    "tsx": (("node_modules/.bin/tsx", "apps/typed.ts"), "/", "tsx"),
}


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=row(name, "both workers serve; reloads under load, stops", LAUNCHED[name][2],
                                 remark="Policy `spread`: the worker is a launcher, and the server its child"))
    for name in LAUNCHED])
def test_launched(umbel, port, name):
    words, path, _ = LAUNCHED[name]
    run = umbel("-n", 2, "--name", "app", "--soak", "200ms", "--env", f"PORT={port}", "--", *words, port, cwd=HERE)
    run.wait_listening(2, timeout=30)
    servers = both_at(port, path)
    # A connection for each request: one that is always busy would hold its worker.
    stream = Stream(port, 4, say=f"GET {path} HTTP/1.0\r\n\r\n".encode())
    try:
        reload(run)
        load = stream.stop()
    finally:
        stream.kill()
    assert not load.failed and load.requests > 100, load.said
    assert not both_at(port, path) & servers
    assert run.stop() == 0
    assert is_refused(port)


def both_at(port, path):
    """The pids of the two who answer there."""
    seen = set()
    wait_until(lambda: seen.update(who_at(port, path)) or len(seen) == 2, "both to answer")
    return seen


@row("express", "a JSON body is parsed")
def test_express(start, port):
    start("express")
    for _ in range(2):
        assert post(port, "/sum", [1, 2, 3]) == {"sum": 6}


@row("fastify", "a JSON body is validated; with `--signal-first` its SIGTERM handler, `await fastify.close(); "
                "process.exit(0)`, runs to its end")
def test_fastify(start, port):
    run = start("fastify", "--signal-first")
    for _ in range(2):
        assert post(port, "/sum", [1, 2, 3]) == {"sum": 6}
    assert run.stop() == 0
    assert len(run.find(r'^\[[12]\] \{"level":30,.*"msg":"closed"\}$')) == 2


def post(port, path, value):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", path, json.dumps(value), {"Content-Type": "application/json", "Connection": "close"})
    answer = connection.getresponse()
    assert answer.status == 200
    return json.loads(answer.read())


# ---- ws ----


@row("ws", "echoes, both workers; an open WebSocket goes on with its worker while a reload replaces it, "
           "and the reload ends when the client goes")
def test_websocket_through_a_reload(start, port):
    run = start("ws", "--grace", "60s")
    old = run.slots()
    with Client("ws_client.js", f"ws://127.0.0.1:{port}") as one, \
            Client("ws_client.js", f"ws://127.0.0.1:{port}") as two:
        assert {int(one.read()), int(two.read())} == set(old.values())
        assert one.ask("one") == "one" and two.ask("two") == "two"
        reloading = subprocess.Popen([UMBEL, "reload", "app"], env=os.environ | {"UMBEL_HOME": str(run.home)},
                                     stdout=subprocess.DEVNULL)
        try:
            run.wait_successor(1, old[1])
            run.wait_for(r"takes over from pid")
            assert one.ask("still one") == "still one" and two.ask("still two") == "still two"
            assert one.close() == "closed 1005" and two.close() == "closed 1005"
            assert reloading.wait(20) == 0
        finally:
            reloading.kill()
            reloading.wait()
    new = set(run.slots().values())
    assert not new & set(old.values())
    with Client("ws_client.js", f"ws://127.0.0.1:{port}") as client:
        assert int(client.read()) in new
        assert client.ask("new") == "new"
        client.close()


@row("ws", "a WebSocket that stays open is cut at the end of `--grace`")
def test_websocket_is_cut_at_the_end_of_the_grace(start, port):
    run = start("ws", "--grace", "1s")
    with Client("ws_client.js", f"ws://127.0.0.1:{port}") as client:
        client.read()
        reload(run)
        assert client.read() == "closed 1006"


@row("ws", "with `--signal-first` its SIGTERM handler closes WebSockets with 1001")
def test_websocket_is_closed_by_the_handler(start, port):
    run = start("ws", "--signal-first")
    with Client("ws_client.js", f"ws://127.0.0.1:{port}") as client:
        client.read()
        reload(run)
        assert client.read() == "closed 1001"


# ---- pino ----


@row("pino", "the lines of its transport (a worker thread): one for each request, none lost at the end")
def test_no_log_line_is_lost(start, port):
    run = start("pino")
    with Load(port, "/counted") as load:
        reload(run)
    for _ in range(20):
        get(port, "/counted")
    assert run.stop() == 0
    lines = [json.loads(m[1]) for m in run.find(r'^\[[12]\] (\{.*"msg":"request"\})$', "stdout")]
    assert len(lines) == sum(load.answered.values()) + 20


# ---- throng ----


@row("throng", "its worker function runs; with `--signal-first` its `disconnect()` ends the worker; its master does "
               "not run")
def test_throng_runs_its_worker(start, port):
    run = start("throng", "--signal-first")
    assert run.stop() == 0
    assert len(run.find(r"^\[[12]\] worker \d+ cleans up$")) == 2
    assert not run.find("the master runs")


# ---- @pm2/io ----


@row("@pm2/io", "its metrics are messages in `umbel events`; `--wait-ready` takes its \"ready\"")
def test_pm2_metrics_are_messages(start, port):
    run = start("@pm2/io", "--wait-ready", listening=0)
    events = Events(run)
    run.wait_listening(2)
    get(port)
    def counted():
        message = events.wait_for("message")["message"]
        return isinstance(message, dict) and message.get("type") == "axm:monitor" and "Requests" in message["data"]
    wait_until(counted, "the counter")
    events.close()


# ---- Next.js ----


@row("next", "a static page, its script, and a route handler: both workers' pids")
def test_next_serves_all_kinds(start, port):
    run = start("next")
    page = get(port).decode()
    assert "<h1>hello from next</h1>" in page
    script = re.search(r'src="(/_next/static/[^"]+\.js)"', page)[1]
    assert len(get(port, script)) > 1000
    assert set(who_at(port, "/pid")) == set(run.slots().values())


def who_at(port, path, count=10):
    return [int(get(port, path)) for _ in range(count)]


# ---- Vite ----


@row("vite", "the built page and its script")
def test_vite_serves_the_build(start, port):
    start("vite")
    page = get(port).decode()
    assert "hello from vite" in page
    assert b"!" in get(port, re.search(r'src="(/assets/[^"]+\.js)"', page)[1])


@row("vite without `--strictPort`", "each worker serves on a port of its own", "vite", result="does not work",
     remark="Vite takes the next port when this one is taken, and it is, by the other worker. Way round: "
            "`--strictPort`")
def test_vite_without_strict_port(umbel, port):
    run = umbel("-n", 2, "--", "node_modules/.bin/vite", "preview", "vite", "--port", port, cwd=HERE)
    run.wait_listening(2)
    assert len({m[3] for m in run.find(r"pid (\d+) (listens) on (\S+)")}) == 2
    assert run.stop() == 0


# ---- Socket.IO ----


@row("socket.io", "with the transport websocket: both workers, acknowledgements, through a reload")
def test_socketio_by_websocket(start, port):
    run = start("socket.io", "--grace", "1s")
    url = f"http://127.0.0.1:{port}"
    with Client("socketio_client.js", url, "websocket") as one, \
            Client("socketio_client.js", url, "websocket") as two:
        pids = {one.read(), two.read()}
        assert pids == {f"pid {pid}" for pid in run.slots().values()}
        assert one.ask("echo a") == "echo a" and two.ask("echo b") == "echo b"
        assert one.ask("say hello") == "said hello"
        assert two.ask("echo b") == "echo b", "a broadcast came to the other worker's client"
        reload(run)
        assert one.read() == two.read() == "disconnect transport close"
    with Client("socketio_client.js", url, "websocket") as client:
        assert int(client.read().removeprefix("pid ")) in run.slots().values()


@row("socket.io, long-polling", "a client that polls, as those of the default transports begin",
     "socket.io", result="does not work",
     remark="A session's requests must all reach one worker, and connections are spread in turn (in Node's "
            "cluster it is the same). Ways round: `transports: ['websocket']`; `--policy sticky`; its own "
            "primary, below")
def test_socketio_by_polling(start, port):
    start("socket.io")
    with Client("socketio_client.js", f"http://127.0.0.1:{port}", "polling") as client:
        said = []
        while (line := client.read()):
            said.append(line)
        assert said[-1] in ("connect_error xhr poll error", "connect_error xhr post error",
                            "disconnect transport error"), said


@row("socket.io, long-polling, sticky", "with `--policy sticky`: a client that polls talks on", "socket.io",
     remark="Not behind a proxy: [STATE.md](STATE.md)")
def test_socketio_by_polling_under_sticky(start, port):
    run = start("socket.io", "--policy", "sticky")
    with Client("socketio_client.js", f"http://127.0.0.1:{port}", "polling") as client:
        assert int(client.read().removeprefix("pid ")) in run.slots().values()
        for n in range(10):
            assert client.ask(f"echo {n}") == f"echo {n}"


@row("@socket.io/sticky", "its primary and @socket.io/cluster-adapter's are JavaScript in the primary: its workers "
     "wait for connections by message and listen nowhere", "@socket.io/sticky", result="does not work",
     remark="Way round: the line below")
def test_socketio_sticky(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--env", f"PORT={port}", "--ready-timeout", "1s", "--max-failures", 1, "--",
                "node", "apps/socketio_sticky.js", cwd=HERE)
    assert run.wait() == 1
    assert not run.find("the primary listens")


OWN_PRIMARY = "`umbel run --share none -n 1 --soak 20s -- node app.js`: umbel keeps the program's own primary alive"
UNDONE = "a reload is undone (4), because its successor finds the port taken; stops with 0, nothing left"


@row("@socket.io/sticky, its own primary", "a long-polling client talks on; a broadcast reaches the clients of both "
     f"workers; {UNDONE}", "@socket.io/sticky", remark=OWN_PRIMARY)
def test_socketio_sticky_with_its_own_primary(umbel, port):
    run = own_primary(umbel, port, "apps/socketio_sticky.js", *SOAK)
    run.wait_for("the primary listens")
    url = f"http://127.0.0.1:{port}"
    with Client("socketio_client.js", url, "polling") as one:
        pid = one.read()
        assert pid.startswith("pid ")
        with Client("socketio_client.js", url, "polling") as two:
            assert two.read() not in (pid, "")
            assert one.ask("echo a") == "echo a" and two.ask("echo b") == "echo b"
            assert one.ask("say hello") == two.read() == "said hello"
        check_own_primary(run, lambda: one.ask("echo c") == "echo c")


# ---- prom-client ----


def total(text):
    """The sum of `requests` over all labels."""
    return sum(int(n) for n in re.findall(r"^requests(?:\{.*\})? (\d+)$", text, re.M))


@row("prom-client, AggregatorRegistry", "its workers serve; `clusterMetrics()` in a worker is empty",
     "prom-client", result="does not work",
     remark="It asks `cluster.workers`, which only a JavaScript primary has. Ways round: the three lines below")
def test_prometheus_aggregation(start, port):
    start("apps/prometheus_cluster.js")
    who(port, 10)
    for _ in range(2):
        assert get(port, "/cluster_metrics") == b""


@row("prom-client, its own primary", f"`clusterMetrics()` counts the requests of both workers; {UNDONE}",
     "prom-client", remark=OWN_PRIMARY)
def test_prometheus_with_its_own_primary(umbel, port):
    run = own_primary(umbel, port, "apps/prometheus_cluster.js", *SOAK, "--env", f"METRICS_PORT={port + 1}")
    wait_until(lambda: not is_refused(port) and not is_refused(port + 1), "both ports")
    served = Counter()

    def both():
        served.update(who(port, 2))
        return len(served) == 2

    wait_until(both, "both of its workers")
    counted = served.total()
    check_own_primary(run, lambda: total(get(port + 1, "/cluster_metrics").decode()) == counted)


@row("prom-client, a port for each worker", BOTH + "; each worker's own count, before the reload and after it",
     "prom-client", remark="[prometheus_ports.js](../tests/packages/apps/prometheus_ports.js): `listen({port: 9100 + "
     "UMBEL_SLOT, exclusive: true})`, again until the predecessor has gone; the scraper adds up")
def test_prometheus_port_for_each_worker(start, port):
    run = start("apps/prometheus_ports.js", "--env", f"METRICS_PORT={port}")

    def counts():
        texts = [get(port + slot).decode() for slot in (1, 2)]
        assert ['worker="1"' in texts[0], 'worker="2"' in texts[1]] == [True, True]
        return [total(text) for text in texts]

    ports = (port + 1, port + 2)
    wait_until(lambda: not any(map(is_refused, ports)), "the metrics' ports")
    who(port, 20)
    assert counts() == [10, 10]
    check_run(run, port, stop=False)
    wait_until(lambda: not any(map(is_refused, ports)), "the metrics' ports")
    before = counts()
    who(port, 20)
    assert counts() == [n + 10 for n in before]
    assert run.stop() == 0


@row("prom-client, a collector", BOTH + "; the sum of both workers' counts", "prom-client",
     remark="[prometheus_push.js](../tests/packages/apps/prometheus_push.js): `process.send()` of "
     "`register.getMetricsAsJSON()`, and `umbel events app \\| node prometheus_collect.js`, which calls "
     "`AggregatorRegistry.aggregate()`")
def test_prometheus_collector(start, port):
    run = start("apps/prometheus_push.js")
    events = subprocess.Popen([UMBEL, "events", "app"], env=os.environ | {"UMBEL_HOME": str(run.home)},
                              stdout=subprocess.PIPE)
    collector = subprocess.Popen(["node", HERE / "apps/prometheus_collect.js"], stdin=events.stdout,
                                 env=os.environ | {"PORT": str(port + 1)})
    try:
        wait_until(lambda: not is_refused(port + 1), "the collector")
        who(port, 20)
        wait_until(lambda: total(get(port + 1).decode()) == 20, "the sum")
        check_run(run, port)
        assert collector.wait(10) == 0
    finally:
        for process in (events, collector):
            process.kill()
            process.wait()
        events.stdout.close()
