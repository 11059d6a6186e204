"""What an intercepted program may have, where umbel may not look into it, and what passes through untouched."""
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from control import status
from crowd import Crowd
from harness import PROGRAMS, SLOW, UMBEL, get, is_refused, wait_until
from intercepting import (BINDINGS, BINDS, FORBID, ab, answered_by, app, each_user, home,  # noqa: F401
                          needs_root, user)
from test_intercept import check_can, check_listener, verb_beside
from test_spares import held

ONE = {"workers": 1, "wait": False}


def serves_alone(run, port, pid):
    """It answers, and it is not umbel's listener."""
    wait_until(lambda: not is_refused(port), "it to listen")
    assert int(get(port)) == pid
    assert status(run)["listeners"] == []


# ---- passes through ----


@each_user
def test_any_free_port(app):
    """Port 0: each has one of its own."""
    run = app(BINDS, "free", workers=2, wait=False)
    ports = {int(run.wait_for(r"(\d+) has port (\d+)", count=n)[2]) for n in (1, 2)}
    assert len(ports) == 2
    assert {int(get(port)) for port in ports} == set(run.slots().values())
    assert status(run)["listeners"] == []


@each_user
def test_a_unix_socket(app, home):
    path = home.parent / f"{home.name}.sock" if home.name != "home" else home.parent / "app.sock"
    try:
        run = app(BINDS, "unix", path, **ONE)
        run.wait_for(rf"\d+ has {path}")
        assert path.is_socket() and status(run)["listeners"] == []
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20 * SLOW)
            s.connect(str(path))
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert int(s.makefile("rb").read().split()[-1]) == run.slots()[1]
        assert run.stop() == 0
    finally:
        path.unlink(missing_ok=True)


def ask_udp(port, count):
    """Who answers datagrams from that many ports."""
    found = Counter()
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(20 * SLOW)
            s.connect(("127.0.0.1", port))
            s.send(b"who\n")
            found[int(s.recv(64))] += 1
    return found


def test_udp(app, port):
    run = app(BINDS, "udp", port, **ONE)
    run.wait_for(r"\d+ has udp")
    assert set(ask_udp(port, 5)) == set(run.slots().values())
    assert status(run)["listeners"] == []


@each_user
def test_udp_when_told_so(app, port):
    """Each has a socket of its own, and the flows are spread."""
    run = app(BINDS, "udp", port, workers=3, options=["--share-udp"], wait=False)
    run.wait_for(r"\d+ has udp", count=3)
    pids = set(run.slots().values())
    wait_until(lambda: len(status(run)["listeners"]) == 1, "the listener")
    wait_until(lambda: all(s["steered"] for s in status(run)["listeners"][0]["slots"]), "all to be steered to")
    assert set(ask_udp(port, 60)) == pids


def test_an_address_left_out(app, port, other_port):
    """--no-share: the program's own."""
    options = ["--no-share", f"tcp://127.0.0.1:{other_port}"]
    run, _ = app(BINDINGS, "two", port, other_port, options=options, workers=1)
    (listener,) = status(run)["listeners"]
    assert listener["address"].endswith(f":{port}")
    for one in (port, other_port):
        assert set(answered_by(one, 5)) == set(run.slots().values())


def test_all_are_left_out(app, port):
    run = app(BINDINGS, "plain", port, options=["--no-share", f"tcp://0.0.0.0:{port}"], **ONE)
    wait_until(lambda: run.slots() and not is_refused(port), "it to listen")
    serves_alone(run, port, run.slots()[1])


def test_only_what_is_named(app, port, other_port):
    """--listen: all else is the program's own."""
    run = app(BINDINGS, "two", port, other_port, options=["--listen", f"tcp://0.0.0.0:{port}"], workers=1)[0]
    (listener,) = status(run)["listeners"]
    assert listener["address"].endswith(f":{port}")
    for one in (port, other_port):
        assert set(answered_by(one, 5)) == set(run.slots().values())


# ---- refused ----


def test_a_busy_port(app, port):
    """The program's own message."""
    with socket.create_server(("127.0.0.1", port)):
        run = app(BINDINGS, "plain", port, **ONE)
        run.wait_for("bind: Address already in use")
        assert run.wait(60) == 1


@each_user
def test_errors_are_the_kernels(app, port, other_port):
    """Whatever a program does wrong, it is told what it would be told without us."""
    with socket.create_server(("0.0.0.0", other_port)):
        alone = subprocess.run([BINDS, "errors", str(port), str(other_port)], capture_output=True, text=True)
        assert alone.returncode == 0 and "bound again: EINVAL" in alone.stdout
        run = app(BINDS, "errors", port, other_port, options=["--restart", "never"], **ONE)
        run.wait()
    said = [m[1] for m in run.find(r"(\w[\w ]+: (0|E[A-Z]+)|(not )?as asked)$", "stdout")]
    assert said == alone.stdout.splitlines()


@each_user
def test_odd_addresses(app, port, other_port):
    """Of one interface, of none here, link-local: what may be bound beside what is the kernel's to say."""
    alone = subprocess.run([BINDS, "odd", str(port), str(other_port)], capture_output=True, text=True)
    assert alone.returncode == 0 and "of nobody: EADDRNOTAVAIL\nof nobody yet: 0\n" in alone.stdout
    run = app(BINDS, "odd", port, other_port, options=["--restart", "never"], **ONE)
    run.wait()
    assert [m[1] for m in run.find(r"(\w[\w ]+: (0|E[A-Z]+))$", "stdout")] == alone.stdout.splitlines()


def test_an_interface_left_out(app, port):
    """--no-share of one: the program's own. Without one it would be of any."""
    run = app(BINDINGS, "interface", port, options=["--no-share", f"tcp://0.0.0.0%lo:{port}"], **ONE)
    wait_until(lambda: run.slots() and not is_refused(port), "it to listen")
    serves_alone(run, port, run.slots()[1])


@pytest.mark.parametrize("named, bound", [("tcp://:{}", "127.0.0.1"), ("tcp://0.0.0.0:{}", "127.0.0.2")])
def test_another_host_of_a_named_port(app, port, named, bound):
    """Left alone, and said so: else only the program's EADDRINUSE would be seen."""
    run = app("python3", "-m", "http.server", "--bind", bound, port, wait=False, workers=2,
              options=["--listen", named.format(port), "--max-failures", "1"])
    run.wait_for(r"OSError: \[Errno \d+\] Address already in use", 20)
    run.wait_for(r"^umbel: slot \d failed", 20)
    assert len(run.find(rf"^umbel: slot \d: pid \d+ binds tcp://{bound}:{port} by itself, and that is not shared: "
                        rf"no --listen names it \(there is {re.escape(named.format(port))}\)$")) == 1


TRIES = """
import socket, sys
own = socket.create_server(("127.0.0.1", int(sys.argv[1])))
for _ in range(100):
    own.listen()
    for port in sys.argv[1:]:
        with socket.socket() as other:
            try:
                other.bind(("127.0.0.1", int(port)))
            except OSError as error:
                print(port, error.strerror)
print("tried", flush=True)
own.accept()
"""


def test_again_and_again(app, port, other_port):
    """A program that tries the same without end does not fill the log: nor does its text, of many lines."""
    with socket.create_server(("127.0.0.1", other_port)):
        run = app("python3", "-c", TRIES, port, other_port, **ONE)
        run.wait_for(r"tried$")
    for taken in (port, other_port):
        assert len(run.find(rf"\] {taken} Address already in use$", "stdout")) == 100
        assert len(run.find(rf"^umbel: slot 1: pid \d+ cannot bind tcp://127\.0\.0\.1:{taken}: ")) == 1
    assert len(run.find(r"listens on")) == 1
    assert run.find(rf"^umbel: app: 1 worker: python3 -c  import socket, sys own = .*  {port} {other_port}$")


# ---- another user's ports ----


def low_port(*wanted):
    """A free one below 1024."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) > 80:
        for number in [*wanted, *range(81, 200)]:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", number)) == 0:
                    continue
            try:
                socket.create_server(("0.0.0.0", number)).close()
                return number
            except OSError:
                pass
    pytest.skip("no port here that only root may have")


@needs_root
@pytest.mark.parametrize("mode", ["plain", "dual"])
def test_a_port_below_1024_of_somebody_else(app, mode):
    """Refused as it would be without us."""
    check_can(mode)
    port = low_port(81)
    run = app(BINDINGS, mode, port, options=["--user", "nobody"], **ONE)
    run.wait_for("bind: Permission denied")
    assert is_refused(port)
    assert run.wait(60) == 1


@needs_root
def test_a_port_below_1024_that_was_named(app):
    port = low_port(80)
    run, pids = app(BINDINGS, "plain", port, options=["--user", "nobody", "--listen", f"tcp://0.0.0.0:{port}"])
    assert set(answered_by(port)) == set(pids.values())
    check_listener(run, port)


@needs_root
def test_a_port_above_of_somebody_else(app, port):
    run, pids = app(BINDINGS, "plain", port, options=["--user", "nobody"])
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids.values()} == {65534}
    assert set(answered_by(port)) == set(pids.values())


@needs_root
def test_a_unix_path_of_root(app):
    with tempfile.TemporaryDirectory(dir="/run") as path:
        os.chmod(path, 0o755)
        run = app(BINDS, "unix", f"{path}/app.sock", options=["--user", "nobody"], **ONE)
        run.wait_for("bind: Permission denied")
        assert os.listdir(path) == []
        run.wait(60)


@needs_root
@pytest.mark.parametrize("share", ["intercept", "node"])
def test_descriptors_of_ours(app, share):
    """listen({fd: N}) of every N: none of ours can be had."""
    options = ["--user", "nobody", "--share", share, "--restart", "never"]
    run = app("node", PROGRAMS / "everyfd.js", 100, options=options, **ONE)
    run.wait()
    said = run.find(r"found (\{.*\})")[0][1]
    assert "listening" not in said
    assert sum(map(int, re.findall(r":(\d+)", said))) == 98


# ---- where umbel may not look into the program ----


@each_user
@pytest.mark.parametrize("mode", ["plain", "pair", "dual", "mptcp", "thread"])
def test_sockets_cannot_be_taken(app, port, mode):
    """As in Docker without SYS_PTRACE: pidfd_getfd is forbidden, and a socket of ours is put in the place of the
    program's."""
    check_can(mode)
    run, pids = app(BINDINGS, mode, port, before=[FORBID, "pidfd_getfd"])
    hosts = ["127.0.0.1"] if mode in ("plain", "thread") else ["127.0.0.1", "::1"]
    for host in hosts:
        assert set(answered_by(port, host=host)) == set(pids.values())
    ab(port)


@pytest.mark.parametrize("mode", ["plain", "pair", "mptcp"])
def test_sockets_cannot_be_taken_later_either(app, port, mode):
    """A successor, and a reload."""
    check_can(mode)
    run, pids = app(BINDINGS, mode, port, before=[FORBID, "pidfd_getfd"])
    os.kill(pids[1], signal.SIGKILL)
    run.wait_successor(1, pids[1])
    assert set(answered_by(port)) == set(run.slots().values())
    with Crowd(port, parallel=16) as crowd:
        crowd.go(50, leave=16)
        done = verb_beside(crowd, run, "reload", "app")
        crowd.go(100)
    assert done.returncode == 0, done.stderr
    assert not crowd.failures, crowd.failures[:3]
    assert set(answered_by(port)) == set(run.slots().values())


def test_addresses_cannot_be_read(app, port):
    """process_vm_readv is forbidden: what is bound cannot be known, and passes through."""
    run = app(BINDINGS, "plain", port, before=[FORBID, "process_vm_readv"], **ONE)
    wait_until(lambda: run.slots() and not is_refused(port), "it to listen")
    assert int(get(port)) == run.slots()[1]
    assert status(run)["listeners"] or len(run.find("^umbel: share: ")) == 1


@each_user
def test_one_that_nobody_may_look_into(app, port):
    """PR_SET_DUMPABLE 0. Root may; for others it passes through, which is said once."""
    run = app(BINDINGS, "undumpable", port, **ONE)
    wait_until(lambda: run.slots() and not is_refused(port), "it to listen")
    assert int(get(port)) == run.slots()[1]
    said = [text for text in run.output() if "not dumpable" in text]
    assert len(said) == (0 if status(run)["listeners"] else 1)


@each_user
def test_one_that_nobody_may_look_into_any_more(app, port):
    """It was dumpable when it bound. Which socket it means is known if it has but one."""
    run, pids = app(BINDINGS, "undumpable-later", port, options=["--spares", 1])
    assert set(answered_by(port)) == set(pids.values())
    check_listener(run, port)
    held(run, 1)
    os.kill(pids[1], signal.SIGKILL)
    pids[1] = run.wait_successor(1, pids[1])
    assert set(answered_by(port)) == set(pids.values())


@pytest.mark.parametrize("user", ["nobody"], indirect=True)
def test_sockets_that_nobody_may_look_into_any_more(app, port, other_port):
    """Of several it is not known, and that is said once."""
    run = app(BINDINGS, "undumpable-with-two", port, other_port, workers=2, wait=False)
    wait_until(lambda: len(run.slots()) == 2 and not is_refused(port), "them to listen")
    run.wait_for(r"^umbel: share: what a program listens on cannot be seen")
    assert len(run.find("cannot be seen")) == 1


def test_the_filter_is_forbidden(app, port):
    """Containers do that: it is said, and the program runs as it is."""
    run = app(BINDINGS, "plain", port, before=[FORBID, "seccomp"], **ONE)
    run.wait_for(r"^umbel: share: no seccomp filter: ")
    wait_until(lambda: run.slots() and not is_refused(port), "it to listen")
    serves_alone(run, port, run.slots()[1])


def test_umbel_under_umbel(app, port, tmp_path):
    """There is one listener of filters in a chain (EBUSY): the inner one says so and does without; the program's
    calls are the outer one's."""
    inner = tmp_path / "inner"
    inner.mkdir(mode=0o700)
    run, pids = app("env", f"UMBEL_HOME={inner}", UMBEL, "run", "-n", 1, "--", BINDINGS, "plain", port, workers=1)
    run.wait_for(r"umbel: share: no seccomp filter: another program answers such calls already")
    found = answered_by(port, 5)
    assert len(found) == 1 and not set(found) & set(pids.values())
    check_listener(run, port, workers=1)
    assert run.stop() == 0
    assert is_refused(port)


def test_umbel_under_umbel_that_only_supervises(app, port, tmp_path):
    """The way round: --share none outside."""
    inner = tmp_path / "inner"
    inner.mkdir(mode=0o700)
    command = [UMBEL, "run", "-n", 3, "--name", "inner", "--", BINDINGS, "plain", port]
    run = app("env", f"UMBEL_HOME={inner}", *command, options=["--share", "none"], **ONE)
    run.wait_for(r"slot \d pid \d+ listens on", count=3, timeout=30)
    assert len(answered_by(port)) == 3
