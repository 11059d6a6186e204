"""How long nobody serves when the only worker crashes: kill -9 to the next whole answer, with a spare and without,
beside the program's own boot and PM2 in fork mode."""
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from measure import BENCH, BUILD, UMBEL, Failed, Row, Servers, free_port, note, run
from reload import PM2, command, end_pm2, install_pm2

TESTS = BENCH.parent / "tests" / "programs"
WAIT_SECONDS = 30
SETTLE_SECONDS = 0.3
PM2_MIN_UPTIME = 1.2  # of what dies sooner PM2 gives up after a while

# It asks nobody for its name, as http.server's own class for a command line does.
PYTHON = """import http.server, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d" % os.getpid())
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def go_program(folder):
    if not shutil.which("go"):
        raise Failed("go is not here")
    run(["env", "CGO_ENABLED=0", "GO111MODULE=off", f"GOCACHE={BUILD / 'go-cache'}", "go", "build", "-o",
         folder / "server", TESTS / "plain" / "server.go"], 300)
    return [folder / "server"]


def programs(folder, plan):
    """{name: (its words but for the port, milliseconds to reach with a spare)}"""
    script = folder / "server.py"
    script.write_text(PYTHON)
    found = {"C": ([BUILD / "tests" / "programs" / "bindings", "plain"], 5),
             "Python": (["/usr/bin/python3", script], 5),
             "Node": (["node", TESTS / "plain" / "server.js"], 8)}
    if plan.crash_peers:
        try:
            found["Go"] = (go_program(folder), 5)
        except Failed as failure:
            note(f"Go is not in the table: {failure}")
    return found


def ask(port):
    """The pid that answers; 0: nobody does."""
    text = b""
    try:
        with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while part := connection.recv(4096):
                text += part
    except OSError:
        return 0
    body = text.partition(b"\r\n\r\n")[2].strip()
    return int(body) if body.isdigit() else 0


def until_served(port, begun, but=0):
    """(milliseconds, the pid) until somebody else answers."""
    while not (pid := ask(port)) or pid == but:
        if time.perf_counter() - begun > WAIT_SECONDS:
            raise Failed(f"nobody answers on port {port}")
        time.sleep(0.0003)
    return (time.perf_counter() - begun) * 1e3, pid


def crash(port, pid):
    begun = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    return until_served(port, begun, pid)


# ---- the sides: each measures one crash ----


def boot(words):
    port = free_port()
    begun = time.perf_counter()
    with subprocess.Popen([*map(str, words), str(port)], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as program:
        try:
            return until_served(port, begun)[0]
        finally:
            program.kill()


def listens(port):
    """Without a connection, which would be a first one."""
    return any(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A"
               for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()[1:])


def first_answer(words):
    """Of the program alone, which has listened for a while: what a spare cannot do faster."""
    port = free_port()
    with subprocess.Popen([*map(str, words), str(port)], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as program:
        try:
            begun = time.perf_counter()
            while not listens(port):
                if time.perf_counter() - begun > WAIT_SECONDS:
                    raise Failed(f"nobody listens on port {port}")
                time.sleep(0.01)
            select.select([], [], [], SETTLE_SECONDS)
            return until_served(port, time.perf_counter())[0]
        finally:
            program.kill()


def umbel(servers, words, spares):
    port, times = free_port(), [0]
    server = servers.start(UMBEL, "run", "-n", 1, "--spares", spares, "--", *words, port, ready=1, port=port)

    def measure():
        times[0] += 1
        if spares:
            server.wait_for("is held", spares - 1 + times[0], WAIT_SECONDS)
        pid = until_served(port, time.perf_counter())[1]
        taken, now = crash(port, pid)
        if spares and not any(f"pid {now} steps in" in line for line in server.lines):
            server.wait_for(f"pid {now} steps in", 1, 5)
        return taken

    return measure


@contextlib.contextmanager
def pm2(words):
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="umbel-bench-") as folder:
        home, program = Path(folder) / "pm2", PM2 / "bin" / "pm2"
        environment = {"PM2_HOME": str(home), "PM2_DISABLE_VERSION_CHECK": "true"}
        how = [] if words[0] == "node" else ["--interpreter", "none"]
        what = words[1:] if words[0] == "node" else words
        began = [0]

        def measure():
            pid = until_served(port, time.perf_counter())[1]
            select.select([], [], [], max(0, began[0] + PM2_MIN_UPTIME - time.monotonic()))
            taken, _ = crash(port, pid)
            began[0] = time.monotonic()
            return taken

        try:
            started = command([program, "start", what[0], *how, "--name", "bench", "--", *what[1:], port],
                              **environment)
            if started.status:
                raise Failed(f"pm2 start: status {started.status}: {started.said}")
            yield measure
        finally:
            end_pm2(program, home, environment)


# ---- the rows ----


def rows_of(name, words, limit, plan, with_pm2):
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(Servers())
        sides = {"spare": umbel(servers, words, 1), "none": umbel(servers, words, 0), "boot": lambda: boot(words),
                 "first": lambda: first_answer(words)}
        if with_pm2:
            sides["pm2"] = stack.enter_context(pm2(words))
        for side in sides.values():
            side()  # the first one finds nothing in any cache
        taken = [{side: f() for side, f in sides.items()} for _ in range(plan.crashes)]
    spare, none, own, first = ([round_of[side] for round_of in taken] for side in ("spare", "none", "boot", "first"))
    rows = [
        Row(f"crash to served again, {name}, a spare : its own boot", "ms", spare, own, limit, of="umbel"),
        Row(f"crash to served again, {name}, a spare : its first answer", "ms", spare, first),
        Row(f"crash to served again, {name}, no spare : its own boot", "ms", none, own, 10, of="difference"),
    ]
    if with_pm2:
        other = [round_of["pm2"] for round_of in taken]
        rows += [Row(f"crash to served again, {name}, {what} : PM2, fork mode", "ms", figures, other)
                 for what, figures in (("a spare", spare), ("no spare", none))]
    return rows


def crashes(plan):
    with_pm2 = plan.crash_peers
    if with_pm2:
        try:
            install_pm2()
        except Failed as failure:
            with_pm2 = False
            note(f"crash: PM2 is not in the table: {failure}")
    note("crash: OxMgr publishes 35 ms from a crash to a TCP port that is ready again, and 177 ms of PM2 beside "
         "it (its BENCHMARK.md of 2026-08-03, on a machine of GitHub's).")
    with tempfile.TemporaryDirectory(prefix="umbel-bench-") as folder:
        return [row for name, (words, limit) in programs(Path(folder), plan).items()
                for row in rows_of(name, words, limit, plan, with_pm2)]
