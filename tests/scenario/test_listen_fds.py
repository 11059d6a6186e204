"""Programs that find their sockets open at their start (LISTEN_FDS, sd_listen_fds(3)), and those that are offered them
and go another way."""
import json
import os
import signal
import socket
import sys
from collections import Counter

import pytest
from c_programs import EXAMPLES
from control import status, verb
from crowd import Stream
from harness import PROGRAMS, SLOW, get, is_refused, stat, wait_until, who
from test_usage import check_refused

SERVER = (sys.executable, PROGRAMS / "listen_fds.py")
KINDS = pytest.mark.parametrize("share", ["auto", "listen-fds"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.sock"


@pytest.fixture
def app(umbel):
    """app(words..., workers=3, options=(), program=SERVER) is `umbel run` of it, and {slot: pid} once all are ready."""
    def start(*words, share="listen-fds", workers=3, options=(), program=SERVER, **more):
        run = umbel("-n", workers, "--name", "app", "--share", share, "--soak", "100ms", *options, "--", *program,
                    *words, **more)
        return run, run.wait_listening(workers)
    return start


def said(run, count):
    """What each worker has found, by slot."""
    found = {int(m[1]): json.loads(m[2]) for m in run.find(r"^\[(\d+)\] (\{.*\})$")}
    return len(found) == count and found


def ask_datagram(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(10 * SLOW)
        s.sendto(b"?", ("127.0.0.1", port))
        return int(s.recv(100))


def ask_path(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10 * SLOW)
        s.connect(str(path))
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return int(s.makefile("rb").read().split()[-1])


def all_of(ask, pids):
    """Each of them answers, and nobody else."""
    seen = set()
    wait_until(lambda: seen.add(ask()) or seen >= pids, f"{pids} to answer")
    assert seen == pids


# ---- what they find ----


@KINDS
def test_what_it_finds(app, port, other_port, path, share):
    udp = ["--listen", f"udp://127.0.0.1:{other_port}"]
    run, pids = app(share=share, options=["--listen", f"tcp://:{port}", "--listen", f"unix://{path}", *udp,
                                          *(["--share-udp"] if share == "auto" else [])])
    found = wait_until(lambda: said(run, 3), "all to say what they found")
    for slot, what in found.items():
        del what["sockets"][1]["blocks"]  # all have this one, and whoever comes first has set it
        assert what["environment"] == {
            "LISTEN_FDS": "3", "LISTEN_FDNAMES": f"tcp-{port}:unix-a.sock:udp-{other_port}", "LISTEN_PID": str(pids[slot]),
            "PORT": str(port), "UMBEL_CHANNEL": "6", "UMBEL_GENERATION": "1", "UMBEL_SLOT": str(slot)}
        assert what["descriptors"] == list(range(7))
        assert what["sockets"] == [
            {"family": "AF_INET6", "type": "SOCK_STREAM", "name": ["::", port], "blocks": True, "listens": 1},
            {"family": "AF_UNIX", "type": "SOCK_STREAM", "name": str(path), "listens": 1},
            {"family": "AF_INET", "type": "SOCK_DGRAM", "name": ["127.0.0.1", other_port], "blocks": True, "listens": 0}]
    pids = set(pids.values())
    all_of(lambda: int(get(port)), pids)
    all_of(lambda: ask_datagram(other_port), pids)
    assert {ask_path(path) for _ in range(10)} <= pids
    seen = status(run)
    assert {listener["address"]: (listener["policy"], listener["workers"]) for listener in seen["listeners"]} == {
        f"tcp://[::]:{port}": ("spread", 3), f"unix://{path}": ("shared", 3), f"udp://127.0.0.1:{other_port}": ("spread", 3)}
    assert (seen["share"], seen["share_why"]) == {
        "auto": ("intercept", "it took the sockets that it was offered (LISTEN_FDS)"),
        "listen-fds": ("listen-fds", "chosen by --share")}[share]
    assert run.stop() == 0
    assert not path.exists()


def test_without_addresses_there_is_nothing(umbel, tmp_path):
    run = umbel("-n", 1, "--share", "listen-fds", "--", "sh", "-c", "env | sort; exec sleep 600",
                before=["env", "LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=x"])
    run.wait_for(r"^\[1\] UMBEL_WORKER=1")
    assert not run.find("LISTEN_|PORT=")


def test_an_address_that_somebody_has(umbel, port):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", port))
        taken.listen()
        run = umbel("-n", 2, "--share", "listen-fds", "--listen", f"tcp://0.0.0.0:{port}", "--max-failures", 1, "--",
                    *SERVER)
        assert run.wait() == 1
    assert run.find(rf"^umbel: .*cannot listen on tcp://0\.0\.0\.0:{port}: Address already in use", "stderr")


def test_too_many_addresses(umbel, tmp_path):
    many = [word for i in range(17) for word in ("--listen", f"unix://{tmp_path}/{i}")]
    check_refused(umbel("--share", "listen-fds", *many, "--", *SERVER),
                  "--listen has 17 addresses: --share listen-fds gives at most 16")


def test_sixteen_addresses(app, port, tmp_path):
    many = [word for i in range(15) for word in ("--listen", f"unix://{tmp_path}/{i}")]
    run, pids = app(workers=1, options=["--listen", f"tcp://:{port}", *many])
    (found,) = wait_until(lambda: said(run, 1), "it to say what it found").values()
    assert found["environment"]["LISTEN_FDS"] == "16"
    assert found["environment"]["UMBEL_CHANNEL"] == "19"
    assert int(get(port)) == ask_path(tmp_path / "14") == pids[1]


@pytest.mark.parametrize("words, expected", [
    ((), "8123"), (("--env", "PORT=1"), "1")], ids=["the listener's", "its own"])
def test_port(umbel, path, words, expected):
    """Every kind of program has it."""
    script = "console.log('PORT', process.env.PORT); setInterval(() => 0, 1000)"
    listen = ["--listen", f"unix://{path}", "--listen", "tcp://:8123", "--listen", "tcp://:8124"]
    run = umbel("-n", 1, *listen, *words, "--", "node", "-e", script)
    run.wait_for(rf"^\[1\] PORT {expected}$")


def test_a_port_that_the_environment_has_stays(umbel):
    run = umbel("-n", 1, "--share", "none", "--listen", "tcp://:8123", "--", "sh", "-c", "echo $PORT; exec sleep 600",
                before=["env", "PORT=9"])
    run.wait_for(r"^\[1\] 9$")


# ---- when they are ready ----


def test_who_does_not_show_it_is_ready_by_age(app, port):
    run, pids = app("open", workers=1, options=["--listen", f"tcp://:{port}", "--min-uptime", "500ms"])
    assert int(get(port)) == pids[1]


@pytest.mark.parametrize("how", ["copies", "watched"])
def test_who_shows_it_otherwise(app, port, how):
    run, pids = app("open", how, share="auto", workers=1, options=["--listen", f"tcp://:{port}"])
    assert int(get(port)) == pids[1]


def test_who_never_shows_it(umbel, port):
    run = umbel("-n", 1, "--listen", f"tcp://:{port}", "--ready-timeout", "1s", "--max-failures", 1, "--", *SERVER, "open")
    assert run.wait() == 1
    assert run.find(r"was not ready in time|not ready", "stderr") or run.find("not ready")


@KINDS
def test_nobody_is_refused_before_it_is_ready(umbel, port, share):
    """They wait in the kernel for the one that boots, from the first on."""
    run = umbel("-n", 1, "--share", share, "--listen", f"tcp://:{port}", "--", *SERVER, "slow")
    wait_until(lambda: not is_refused(port), "the port to be open")
    assert int(get(port)) == run.wait_listening(1)[1]


# ---- coming and going ----


def queue(port, count):
    """So many connections that have said something and have no answer."""
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for s in clients:
        s.settimeout(20 * SLOW)
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return clients


def answers(clients):
    found = Counter()
    for s in clients:
        with s:
            found[int(s.makefile("rb").read().split()[-1])] += 1
    return found


@KINDS
def test_a_successor_gets_what_waited(app, port, share):
    run, pids = app(share=share, workers=1, options=["--listen", f"tcp://:{port}"])
    os.kill(pids[1], signal.SIGSTOP)
    wait_until(lambda: stat(pids[1])[0] == "T", "it to stop")
    clients = queue(port, 20)
    os.kill(pids[1], signal.SIGKILL)
    assert answers(clients) == {run.wait_successor(1, pids[1]): 20}


def test_a_successor_gets_what_waited_beside_others(app, port):
    run, pids = app(options=["--listen", f"tcp://:{port}"])
    os.kill(pids[2], signal.SIGSTOP)
    wait_until(lambda: stat(pids[2])[0] == "T", "it to stop")
    clients = queue(port, 60)
    os.kill(pids[2], signal.SIGKILL)
    found = answers(clients)
    assert sum(found.values()) == 60
    assert set(found) <= {pids[1], pids[3], run.wait_successor(2, pids[2])}
    assert pids[2] not in found


@KINDS
def test_reloaded_under_load(app, port, share):
    """The program dies of the signal at once. Nobody is refused, cut off or left waiting."""
    run, pids = app(share=share, options=["--listen", f"tcp://:{port}", "--grace", "20s"])
    stream = Stream(port, parallel=8)
    for generation in 2, 3:
        done = verb(run, "reload", "app")
        assert done.returncode == 0, done.stdout + done.stderr
    load = stream.stop()
    assert load.requests > 0 and load.failed == 0, load
    now = set(run.wait_listening(3).values())
    assert not now & set(pids.values())
    assert set(who(port, 30)) <= now
    assert not run.find("SIGKILL")


@KINDS
def test_scaled(app, port, share):
    run, pids = app(share=share, workers=1, options=["--listen", f"tcp://:{port}"])
    assert verb(run, "scale", "app", 3).returncode == 0
    all_of(lambda: int(get(port)), set(run.wait_listening(3).values()))
    assert verb(run, "scale", "app", 1).returncode == 0
    wait_until(lambda: len(run.slots()) == 1, "two to leave")
    assert set(who(port, 20)) == {pids[1]}


# ---- who is offered them, and goes another way ----


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_who_binds_himself(app, port, host):
    """Its own socket is the address's; nobody is offered one any more."""
    listen = f"tcp://{host if host == '127.0.0.1' else ''}:{port}"
    run, pids = app(share="auto", options=["--listen", listen],
                    program=(sys.executable, "-m", "http.server", "--directory", PROGRAMS, "--bind", host, port))
    assert [(listener["address"], listener["workers"]) for listener in status(run)["listeners"]] == [
        (f"tcp://{host}:{port}", 3)]
    for _ in range(20):
        assert get(port, "/lines.js")
    os.kill(pids[1], signal.SIGKILL)
    pid = run.wait_successor(1, pids[1])
    with open(f"/proc/{pid}/environ", "rb") as environment:
        assert b"LISTEN_FDS" not in environment.read()
    for _ in range(20):
        assert get(port, "/lines.js")


@pytest.mark.parametrize("policy, options", [("rr", ""), ("rr", "?backlog=7"), ("sticky", "")])
def test_who_speaks_on_the_channel(app, port, policy, options):
    """It asks there, and has what it always had."""
    run, pids = app(port, share="auto", options=["--policy", policy, "--listen", f"tcp://:{port}{options}"],
                    program=(EXAMPLES / "hello_http",))
    for _ in range(20):
        assert get(port)
    seen = status(run)
    assert [(listener["address"], listener["policy"], listener["workers"]) for listener in seen["listeners"]] == [
        (f"tcp://[::]:{port}", policy, 3)]
    assert seen["share_why"] == "it speaks on the channel"
    assert sum(w["connections"]["handed"] for w in seen["workers"]) == (20 if policy == "rr" else 0)
