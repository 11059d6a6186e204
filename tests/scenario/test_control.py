"""list, status, stop, and the socket behind them, asked as the verbs do and as nobody should."""
import json
import os
import socket
import subprocess

import pytest

from harness import SLOW, UMBEL, wait_until


def verb(run, *words):
    env = os.environ | {"UMBEL_HOME": str(run.home)}
    return subprocess.run([UMBEL, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=30 * SLOW)


class Client:
    def __init__(self, run, name="app"):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10 * SLOW)
        self.socket.connect(str(run.home / f"{name}.sock"))
        self.lines = self.socket.makefile("rb")

    def ask(self, line):
        self.socket.sendall(line + b"\n")
        return json.loads(self.lines.readline())


@pytest.fixture
def app(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--", "node", "app.js", port)
    run.pids = run.wait_listening(2)
    run.port = port
    return run


def test_list(app):
    (entry,) = json.loads(verb(app, "list", "--json").stdout)
    assert entry == {"name": "app", "pid": app.pid, "state": "ready", "policy": "rr",
                     "generation": 1, "workers": {"ready": 2, "total": 2}}
    table = verb(app, "list").stdout.splitlines()
    assert table[0].split() == ["NAME", "PID", "STATE", "POLICY", "READY"]
    assert table[1].split() == ["app", str(app.pid), "ready", "rr", "2/2"]


def test_status(app):
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", app.port)) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert s.recv(100)
    status = json.loads(verb(app, "status", "app", "--json").stdout)
    assert (status["name"], status["pid"], status["state"]) == ("app", app.pid, "ready")
    (listener,) = status["listeners"]
    assert listener["address"] == f"tcp://[::]:{app.port}"
    assert (listener["policy"], listener["handed"], listener["skipped"]) == ("rr", 10, 0)
    assert {w["slot"]: w["pid"] for w in status["workers"]} == app.pids
    for w in status["workers"]:
        assert (w["state"], w["restarts"], w["last_exit"]) == ("ready", 0, None)
        assert w["connections"] == {"handed": 5, "active": None, "queued": 0}
        assert w["rss_bytes"] > 10 << 20 and w["uptime_s"] > 0 and w["cpu_percent"] >= 0
    assert "5" in verb(app, "status", "app").stdout


def test_status_after_a_death(app):
    os.kill(app.pids[1], 9)
    app.wait_for(r"slot 1 pid \d+ listens", count=2)
    workers = json.loads(verb(app, "status", "app", "--json").stdout)["workers"]
    assert [w["slot"] for w in workers] == [1, 2]
    assert workers[0]["restarts"] == 1 and "SIGKILL" in workers[0]["last_exit"]
    assert workers[1]["restarts"] == 0


def test_stop(app):
    done = verb(app, "stop", "app")
    assert (done.returncode, done.stdout) == (0, "app: stopped\n")
    assert app.wait() == 0
    assert verb(app, "stop", "app").returncode == 3
    assert verb(app, "status", "app").returncode == 3
    assert json.loads(verb(app, "list", "--json").stdout) == []


def test_bad_words(app):
    for words, status in [(["status"], 2), (["status", "no/name"], 2), (["status", "app", "x"], 2),
                          (["list", "--jsn"], 2), (["stop", "--now"], 2), (["stop", "other"], 3)]:
        done = verb(app, *words)
        assert done.returncode == status, words
        assert not done.stdout and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("umbel: ")


def test_bad_requests(app):
    client = Client(app)
    for bad in [b"", b"{", b"7", b"null", b"[]", b'{"request":7}', b'{"request":"shutdown"}',
                b"\xff\xfe", b'{"request":"st\\u0000atus"}', b"[" * 3000]:
        answer = client.ask(bad)
        assert answer["ok"] is False and answer["error"], bad
    assert client.ask(b'{"request":"status"}')["ok"] is True  # the same client, unharmed
    long = Client(app)
    assert "1 MiB" in long.ask(b'"' + b"x" * (1 << 20) + b'"')["error"]
    assert long.lines.readline() == b""
    assert app.slots() == app.pids


def test_clients_that_do_not_read_or_come_in_numbers(app):
    clients = []
    for _ in range(70):  # more than are served
        c = socket.socket(socket.AF_UNIX)
        c.connect(str(app.home / "app.sock"))
        clients.append(c)
    clients[0].sendall(b'{"request":"status"}\n' * 500)  # and reads none of it
    for c in clients:
        c.close()

    def answers():
        try:
            return Client(app).ask(b'{"request":"status"}')["ok"]
        except (OSError, ValueError):  # turned away: those before are not gone yet
            return False

    wait_until(answers, "an answer")


def test_events(app):
    client = Client(app)
    assert client.ask(b'{"request":"events"}') == {"ok": True}
    os.kill(app.pids[2], 9)
    seen = []
    while not seen or seen[-1]["event"] != "listening":
        seen.append(json.loads(client.lines.readline()))
    names = [e["event"] for e in seen]
    assert names.index("exit") < names.index("listening")
    ended = seen[names.index("exit")]
    assert (ended["slot"], ended["pid"], ended["signal"]) == (2, app.pids[2], "KILL")
    assert seen[-1]["address"] == f"tcp://[::]:{app.port}"


def test_a_removed_socket_is_made_again(app):
    os.unlink(app.home / "app.sock")
    wait_until(lambda: (app.home / "app.sock").exists(), "a new socket")
    assert verb(app, "status", "app").returncode == 0


def test_left_behind_by_a_killed_primary(umbel, app, port):
    app.kill()
    assert (app.home / "app.sock").exists()
    assert verb(app, "status", "app").returncode == 3
    assert json.loads(verb(app, "list", "--json").stdout) == []
    again = umbel("-n", 1, "--name", "app", "--", "node", "app.js", port + 1)
    again.wait_listening(1)
    assert verb(again, "status", "app").returncode == 0


def test_socket_is_ours_alone(app):
    assert (app.home / "app.sock").stat().st_mode & 0o077 == 0


def test_without_a_directory_it_runs_all_the_same(umbel, port, tmp_path):
    (tmp_path / "file").write_text("")
    run = umbel("-n", 1, "--", "node", "app.js", port,
                before=("env", f"UMBEL_HOME={tmp_path / 'file'}"))
    run.wait_listening(1)
    assert len([line for line in run.output("stderr") if "no control socket" in line]) == 1


def test_name_is_free_after_stop(umbel, port):
    """Who stops an app may start another under its name at once."""
    for _ in range(5):
        app = umbel("-n", 1, "--name", "again", "--", "node", "app.js", port)
        app.wait_listening(1)
        assert verb(app, "stop", "again").stdout == "again: stopped\n"
