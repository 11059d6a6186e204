"""What makes a worker ready that says nothing of it: a command's success, an answer of its own, its age."""
import contextlib
import http.server
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from c_programs import EXAMPLES
from control import slot_states, status, verb, wait_slot, why
from harness import SLOW, UMBEL, get, processes, wait_until


def states(run):
    """{slot: states of its workers, the older first}"""
    found = {}
    done = verb(run, "status", "app", "--json")  # nobody answers yet, just after the start
    for w in sorted(json.loads(done.stdout or "{}").get("workers", []), key=lambda w: w["id"]):
        found.setdefault(w["slot"], []).append(w["state"])
    return found


def wait_states(run, wanted, timeout=20):
    wait_until(lambda: states(run) == wanted, f"the workers to be {wanted}", timeout)


# ---- a command ----

PROGRAMS = {"node": ("node", ["node", "app.js"]), "intercept": ("intercept", ["python3", "-m", "http.server"]),
            "none": ("none", ["sh", "-c", "exec sleep 600"])}


@pytest.mark.parametrize("share", PROGRAMS)
def test_a_command(umbel, port, tmp_path, share):
    """Each worker is ready once the command says so of it."""
    ok = tmp_path / "ok"
    run = umbel("-n", 2, "--name", "app", "--share", share, "--ready-cmd",
                f"echo $UMBEL_SLOT >> {tmp_path}/asked; test -e {ok}.$UMBEL_SLOT", "--", *PROGRAMS[share][1], port)
    asked = tmp_path / "asked"
    wait_until(lambda: asked.exists() and {"1", "2"} <= set(asked.read_text().split()), "both to be asked for", 20)
    assert states(run) == {1: ["starting"], 2: ["starting"]}
    (tmp_path / "ok.2").touch()
    wait_states(run, {1: ["starting"], 2: ["ready"]})
    count = asked.read_text().count("1")
    wait_until(lambda: asked.read_text().count("1") >= count + 2, "it to be asked again")
    (tmp_path / "ok.1").touch()
    wait_states(run, {1: ["ready"], 2: ["ready"]})
    count = len(asked.read_text())
    os.kill(run.slots()[1], signal.SIGKILL)
    wait_until(lambda: run.slots().get(1) and len(asked.read_text()) > count, "its successor to be asked")
    wait_slot(run, 1, "serving")


def test_what_a_command_has(umbel, port, tmp_path):
    seen = tmp_path / "seen"
    script = f"""exec > {seen}.new; env; echo pwd=`pwd`; echo pid=$$; readlink /proc/$$/fd/0
                 cut -d' ' -f5 /proc/$$/stat | sed s/^/group=/; mv {seen}.new {seen}"""
    run = umbel("-n", 1, "--name", "app", "--cwd", tmp_path, "--env", "COLOUR=blue", "--ready-cmd", script, "--",
                "node", os.path.abspath(os.path.join(os.path.dirname(__file__), "../programs/app.js")), port)
    run.wait_listening(1)
    wait_states(run, {1: ["ready"]})
    lines = seen.read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert (found["COLOUR"], found["UMBEL_SLOT"], found["UMBEL_WORKER"]) == ("blue", "1", "1")
    hidden = {"NODE_CHANNEL_FD", "NODE_UNIQUE_ID", "NODE_CHANNEL_SERIALIZATION_MODE", "UMBEL_CHANNEL",
              "NOTIFY_SOCKET"}
    assert not hidden & set(found)
    assert found["pwd"] == str(tmp_path)
    assert found["pid"] == found["group"]
    assert "/dev/null" in lines
    assert found["UMBEL_PROBE_FD"] == "3"


def test_it_is_asked_after_it_listens(umbel, port, tmp_path):
    """And after it said so, where that is waited for."""
    run = umbel("-n", 1, "--name", "app", "--wait-ready", "--ready-cmd", f"touch {tmp_path}/asked", "--", "node",
                "app.js", port)
    run.wait_listening(1)
    wait_until(lambda: status(run)["listeners"], "the listener")
    assert states(run) == {1: ["starting"]}
    assert not (tmp_path / "asked").exists()


def test_a_command_ends_with_its_worker(umbel, token):
    """Also what it has started."""
    run = umbel("-n", 1, "--name", "app", "--share", "none", "--ready-cmd", "sleep 601 & sleep 602", "--", "sh",
                "-c", "exec sleep 600")

    def commands():
        found = set()
        for pid in processes(token):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ends
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                found |= {pid} if words[:2] in (["sleep", "601"], ["sleep", "602"]) else set()
        return found

    first = wait_until(lambda: len(found := commands()) == 2 and run.slots() and found, "the command to run")
    os.kill(run.slots()[1], signal.SIGKILL)
    wait_until(lambda: len(found := commands()) == 2 and not found & first, "the next worker's")
    assert run.stop() == 0  # nothing is left: the fixture looks


@pytest.mark.parametrize("command, ends", [
    ("exit 3", "3$"), ("echo out; echo first >&2; echo 'the last' >&2; echo >&2; exit 3", "3: the last$"),
    ("printf 'no end\\t' >&2; exit 3", "3: no end $"), ("printf '%300s' x | tr ' ' . >&2; exit 3", r"3: \.+$")])
def test_a_worker_that_is_never_well(umbel, command, ends):
    run = umbel("-n", 1, "--name", "app", "--ready-timeout", "1s", "--max-failures", 0, "--ready-cmd", command,
                "--share", "none", "--", "sh", "-c", "exec sleep 600")
    run.wait_for("not ready in time", timeout=20)
    notes = wait_until(lambda: [r["text"] for r in why(run) if r.get("what") == "ready"], "the note")
    assert "the ready command was run" in notes[0]
    # One may run just then.
    assert re.search(f"the last one exited with {ends}", notes[0]) or "has not ended" in notes[0]


def test_a_command_that_says_much(umbel):
    """It is not held up."""
    run = umbel("-n", 1, "--name", "app", "--ready-cmd", "head -c 1000000 /dev/zero >&2", "--share", "none", "--",
                "sh", "-c", "exec sleep 600")
    wait_states(run, {1: ["ready"]})


@pytest.mark.parametrize("kind", ["node", "intercept", "listen-fds"])
def test_a_command_that_asks_the_shared_address(umbel, port, tmp_path, kind):
    """It reaches whoever takes connections; at the first start somebody has to."""
    command = f"unset UMBEL_PROBE_FD; {UMBEL} probe http://localhost:{port}/"
    run = umbel("-n", 2, "--name", "app", "--share", kind, "--listen", f"tcp://127.0.0.1:{port}", "--ready-cmd",
                command, "--", *server(kind, "127.0.0.1", port, tmp_path))
    wait_states(run, {1: ["ready"], 2: ["ready"]})


# ---- a url ----

def server(kind, host, port, directory):
    program = ["node", "health.js"] if kind == "node" else ["python3", "health.py"]
    return [*program, host, port, directory]


@pytest.mark.parametrize("kind, policy, host", [
    ("node", "rr", "127.0.0.1"), ("node", "spread", "::"), ("node", "sticky", "::1"),
    ("python", "spread", "127.0.0.1"), ("python", "sticky", "::1"), ("listen-fds", "spread", "127.0.0.1")])
def test_a_url(umbel, port, tmp_path, kind, policy, host):
    """Each worker alone is asked, and gets nothing else until it is well."""
    at = f"http://{'[::1]' if host == '::1' else 'localhost'}:{port}"
    (tmp_path / "ok.1").touch()
    (tmp_path / "ok.2").touch()
    options = ["--share", kind, "--listen", f"tcp://{host}:{port}"] if kind == "listen-fds" else []
    run = umbel("-n", 2, "--name", "app", "--policy", policy, "--soak", "50ms", "--ready-url", f"{at}/health",
                *options, "--", *server(kind, host, port, tmp_path))
    wait_states(run, {1: ["ready"], 2: ["ready"]})
    old = run.slots()
    os.kill(old[1], signal.SIGKILL)
    run.wait_for(r"^\[1\] is not well yet$", count=2, timeout=20)
    assert states(run) == {1: ["starting"], 2: ["ready"]}

    def answers():
        return {subprocess.run(["curl", "-s", f"{at}/"], capture_output=True, text=True, timeout=20 * SLOW).stdout
                for _ in range(8)}

    assert answers() == {str(old[2])}
    assert not run.find(r"^\[2\] is not well yet$")
    (tmp_path / "ok.3").touch()
    wait_states(run, {1: ["ready"], 2: ["ready"]})
    if policy != "sticky":
        wait_until(lambda: answers() == {str(pid) for pid in run.slots().values()}, "both to answer")


def test_a_url_in_a_reload(umbel, port, tmp_path):
    """A successor that is not well in time undoes it; nobody has seen it."""
    (tmp_path / "ok.1").touch()
    run = umbel("-n", 1, "--name", "app", "--ready-timeout", f"{2 * SLOW}s", "--ready-url",
                f"http://127.0.0.1:{port}/health", "--", *server("python", "127.0.0.1", port, tmp_path))
    wait_states(run, {1: ["ready"]}, 30)
    pid = str(run.slots()[1])
    done = subprocess.Popen([UMBEL, "reload", "app"], env=os.environ | {"UMBEL_HOME": str(run.home)})
    while done.poll() is None:
        assert get(port).decode() == pid
        with contextlib.suppress(subprocess.TimeoutExpired):
            done.wait(0.01)
    assert done.returncode == 4
    assert get(port).decode() == pid
    assert run.find(r"^\[1\] is not well yet$")


def test_a_url_of_a_c_program(umbel, port):
    example = EXAMPLES / "hello_http"
    if not example.exists():
        pytest.skip("built without libmicrohttpd")
    run = umbel("-n", 2, "--name", "app", "--ready-url", f"http://localhost:{port}/", "--", example, port)
    wait_states(run, {1: ["ready"], 2: ["ready"]})


def test_a_url_that_nobody_answers(umbel, port, other_port):
    run = umbel("-n", 1, "--name", "app", "--ready-timeout", f"{2 * SLOW}s", "--ready-url",
                f"http://127.0.0.1:{other_port}/", "--", "node", "app.js", port)
    run.wait_for("not ready in time", timeout=30)
    said = rf"exited with 1: umbel: probe http://127.0.0.1:{other_port}/: Connection refused"
    run.wait_for(rf"the last one ({said}|has not ended)$", 20)  # one may run just then


def test_a_spare_is_asked_when_it_has_a_slot(umbel, port, tmp_path):
    asked = tmp_path / "asked"
    run = umbel("-n", 1, "--name", "app", "--spares", 1, "--ready-cmd",
                f"echo worker $UMBEL_WORKER in slot $UMBEL_SLOT >> {asked}; test -e {tmp_path}/ok.$UMBEL_WORKER",
                "--", *server("python", "127.0.0.1", port, tmp_path))
    (tmp_path / "ok.1").touch()
    run.wait_for(r"spare pid \d+ is held", timeout=20)
    assert "worker 2" not in asked.read_text()
    os.kill(run.slots()[1], signal.SIGKILL)
    wait_until(lambda: "worker 2 in slot 1" in asked.read_text(), "the spare to be asked")
    assert states(run)[1] == ["starting"]
    (tmp_path / "ok.2").touch()
    wait_slot(run, 1, "serving")


# ---- its age ----

@pytest.mark.parametrize("share", ["intercept", "channel", "node", "none", "listen-fds"])
def test_who_never_listens_is_ready_after_a_while(umbel, share):
    begin = time.monotonic()
    run = umbel("-n", 1, "--name", "app", "--share", share, "--ready-timeout", "2s", "--ready-after", "1s",
                "--", "sh", "-c", "exec sleep 600")
    wait_states(run, {1: ["ready"]})
    assert time.monotonic() - begin >= 1
    assert slot_states(run) == {1: "serving"}


def test_who_never_listens_is_late_without_it(umbel):
    run = umbel("-n", 1, "--name", "app", "--share", "intercept", "--ready-timeout", "500ms", "--", "sh", "-c",
                "exec sleep 600")
    run.wait_for("not ready in time", timeout=20)


# ---- umbel probe ----

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Host"], self.headers["Connection"]))
        if self.path == "/nonsense":
            self.wfile.write(b"hello\r\n\r\n")
            return
        self.send_response(int(self.path.strip("/").partition("?")[0] or 200))
        self.end_headers()
        self.wfile.write(b"x" * 100000)

    def log_message(self, *_):
        pass


@pytest.fixture
def answers():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as s:
        s.seen = []
        thread = threading.Thread(target=s.serve_forever)
        thread.start()
        yield s
        s.shutdown()
        thread.join()


def probe(url):
    done = subprocess.run([UMBEL, "probe", *([url] if url else [])], capture_output=True, text=True,
                          timeout=30 * SLOW)
    assert done.stdout == ""
    assert done.stderr.count("\n") == (done.returncode != 0)
    return done.returncode, done.stderr


@pytest.mark.parametrize("path, status, says", [
    ("", 0, ""), ("/", 0, ""), ("/204", 0, ""), ("/302", 0, ""), ("/200?a=b#part", 0, ""),
    ("/400", 1, "status 400"), ("/404", 1, "status 404"), ("/503", 1, "status 503"),
    ("/nonsense", 1, "no answer of HTTP")])
def test_probe(answers, path, status, says):
    at = f"127.0.0.1:{answers.server_port}"
    code, stderr = probe(f"http://{at}{path}")
    assert code == status
    assert says in stderr
    assert answers.seen == [(path.partition("#")[0] or "/", at, "close")]


def test_probe_of_nobody(port):
    code, stderr = probe(f"http://localhost:{port}/")
    assert code == 1 and "Connection refused" in stderr


@pytest.mark.parametrize("url, says", [
    ("https://localhost/", "https is not spoken"), ("localhost:80", "it must be a url"),
    ("ftp://localhost/", "url"), ("http://", "url"), ("http://:80/", "url"), ("http://localhost:0/", "url"),
    ("http://localhost:65536/", "url"), ("http://localhost:80x/", "url"), ("http://[::1/", "url"),
    ("http://a@localhost/", "url"), ("http://localhost/a b", "blanks"),
    ("http://localhost/\r\nX: y", "blanks"), ("http://" + "x" * 300 + "/", "url"),
    ("http://localhost/" + "x" * 3000, "url"), (None, "one url")])
def test_probe_is_asked_wrongly(url, says):
    code, stderr = probe(url)
    assert code == 2
    assert says in stderr


def test_probe_is_not_listed():
    done = subprocess.run([UMBEL, "help"], capture_output=True, text=True, check=True)
    assert "probe" not in done.stdout
