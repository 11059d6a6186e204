"""pid1: `umbel run` as process 1 of a pid namespace, as in a container without an init. It reaps what
others left behind, SIGTERM drains, the exit status is right."""
import os
import signal
import socket
import subprocess

from app import TESTS, App, Skip, children, processes_below
from harness import SLOW, processes, wait_until

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def namespace():
    for words in (NAMESPACE, [*NAMESPACE, "--map-root-user"]):
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    raise Skip("no pid namespace for us (unshare --pid)")


def ask(port, line):
    s = socket.create_connection(("127.0.0.1", port), 60 * SLOW)
    s.sendall(f"{line}\n".encode())
    return s


def answer(s):
    with s:
        return b"".join(iter(lambda: s.recv(64), b""))


def run(say, count):
    with App([TESTS / "orphans"], workers=2, before=namespace()) as app:
        (primary,) = children(app.pid)  # unshare has one child: 1 in there
        inner = app.status()["pid"]
        assert inner == 1, f"its pid is {inner}"
        app.wait_settled(2)
        for s in [ask(app.port, f"orphans {count // 2}") for _ in range(2)]:
            assert answer(s) == b"done\n"
        # Orphans that are still alive are its children too.
        wait_until(lambda: len(processes_below(primary)) == 2, "the orphans to end and to be reaped")
        reaped = f"{count // 2 * 2} orphans, 0 left"

        sleeping = ask(app.port, "sleep 1000")
        wait_until(lambda: any(w["connections"]["handed"] > 1 for w in app.status()["workers"]),
                   "a worker to take it")
        os.kill(primary, signal.SIGTERM)
        assert answer(sleeping) == b"done\n", "SIGTERM cut a request off"
        status = app.run.wait(40)
        assert status == 0, f"exit status {status}"
        assert not processes(app.run.token), "processes are left"
    return f"{reaped}; SIGTERM drained, exit status {status}"
