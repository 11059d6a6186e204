"""intercepted: workers that know nothing of us, and have no graceful stop, are replaced one after the other under load.
No connection is refused or reset, says the client; none was dropped, says the kernel."""
import shutil
import sys
import tempfile
import time
from pathlib import Path

from app import PROGRAMS, SLOW, App
from crowd import Stream
from harness import wait_until
from load import Kernel, Wrk, loading, wait_quiet
from plain_programs import go, page
from reloads import reload_once

OPTIONS = ["--soak", "100ms", "--ready-timeout", f"{20 * SLOW}s"]


def python(directory):
    return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", page(Path(directory))]


def slow(ms):
    """Responses that take so long; its clients have nothing else."""
    return [sys.executable, PROGRAMS / "slow.py"], [
        lambda port: Stream(port, 16, say=f"GET /{ms} HTTP/1.0\r\n\r\n".encode())]


CLIENTS = [lambda port: Stream(port, 16), lambda port: Wrk(port, closes=True, connections=16)]


def kinds(directory, slow_ms):
    """{name: (command, clients)}"""
    found = {"python": (python(directory), CLIENTS), f"{slow_ms} ms": slow(slow_ms)}
    if shutil.which("go"):
        found["go"] = (go(0, 0)[:1], CLIENTS)
    return found


def replace(app, clients, count):
    """(requests, text)"""
    wait_quiet(app.port)
    kernel, began = Kernel(), time.monotonic()
    with loading(*[client(app.port) for client in clients]) as loads:
        loads = loads if len(clients) > 1 else [loads]
        wait_until(lambda: loads[0].crowd.answers, "the first answer")
        for _ in range(count):
            reload_once(app)
        took = time.monotonic() - began
        kernel.end()
        done = [load.stop() for load in loads]
    said = kernel.check(f"in {took:.1f} s, the clients saw {done}")
    requests, failed = sum(load.requests for load in done), sum(load.failed for load in done)
    assert failed == 0, "\n".join([f"{failed} of {requests} requests failed", *(load.said for load in done)])
    return requests, f"{count} x {app.workers} replacements in {took:.1f} s, {requests} requests, 0 failed; {said}"


def run(say, workers, count, slow_ms):
    total = 0
    with tempfile.TemporaryDirectory(prefix="umbel-torture-") as directory:
        for name, (command, clients) in kinds(directory, slow_ms).items():
            with App(command, workers=workers, options=OPTIONS) as app:
                done, text = replace(app, clients, count)
            total += done
            say(f"{name}: {text}")
    return f"{total} requests, 0 failed"
