"""What a Node worker loads before its program: it marks responses once it drains, says when no
connection is left, and is not noticed. The primary is Node's own (preload_primary.js), so that
nothing here depends on umbel's. NODE=/path/to/node runs it with another version of Node."""
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess

import pytest
from harness import PROGRAMS, ROOT, SLOW, Run, processes, wait_until

PRELOAD = ROOT / "src" / "node" / "preload.cjs"
NODE = os.environ.get("NODE", "node")

POST = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


class Primary(Run):
    """A Node primary and its worker."""

    def port(self):
        return int(self.wait_for(r"^listens on (\d+)")[1])

    def drain(self):
        """Returns when the worker knows; what it does then in the same turn is done."""
        before = len(self.find("app says pong"))
        self.send(signal.SIGUSR2)
        self.wait_for("app says pong", count=before + 1)

    def is_drained(self):
        return len(self.find("says NODE_UMBEL_DRAINED"))

    def leave(self):
        """Tells the worker to go, as Node does; its exit status."""
        self.send(signal.SIGHUP)
        return self.wait_for(r"^exit (\S+)")[1]


@pytest.fixture
def primary(environment, home, token):
    """primary("preload_app.js", "http", 0) with keywords options (the user's NODE_OPTIONS), preload."""
    runs = []

    def start(*args, options=None, preload=PRELOAD):
        env = {k: v for k, v in environment.items() if k != "NODE_OPTIONS"}
        if options is not None:
            env["USER_OPTIONS"] = options
        argv = [NODE, "preload_primary.js", preload, *args]
        run = Primary([str(word) for word in argv], env, home, token, cwd=PROGRAMS)
        runs.append(run)
        return run

    yield start
    for run in runs:
        run.end()
    wait_until(lambda: not processes(token), "its processes to end")


def connect(where):
    if isinstance(where, int):
        s = socket.create_connection(("127.0.0.1", where))
    else:
        s = socket.socket(socket.AF_UNIX)
        s.connect(where)
    s.settimeout(10 * SLOW)
    return s


def answer(s):
    """(headers, body) of one response; the connection stays as it is."""
    response = http.client.HTTPResponse(s)
    response.begin()
    return response.headers, response.read()


def ask(s, path=b"/"):
    s.sendall(POST % path + b"hi")
    return answer(s)


def is_marked(headers):
    return headers.get_all("Connection") == ["close"] and "Keep-Alive" not in headers


def secured(port, certificate):
    context = ssl.create_default_context(cafile=certificate[1])
    return context.wrap_socket(connect(port), server_hostname="localhost")


# ---- what the program sees ----

OPTIONS = [None, "", "--no-warnings", "--no-warnings ", '  --conditions="a \\\\ b"  --no-warnings',
           '--no-warnings --require "path"', f"{'--no-warnings ' * 3}--trace-uncaught"]


def seen(run):
    assert run.wait_for(r"^exit (\S+)")[1] == "0"
    return {m[1]: json.loads(m[2]) for m in run.find(r"^(main|thread|forked|spawned) (\{.*)")}


@pytest.mark.parametrize("options", OPTIONS)
def test_the_program_sees_nothing_of_it(primary, options):
    with_it, without = (seen(primary("preload_seen.js", options=options, preload=p))
                        for p in (PRELOAD, "-"))
    if options == "":  # cannot be told from none: what is appended may begin with a space or not
        for who in without.values():
            assert who.pop("options") in ("", None)
        for who in with_it.values():
            assert who.pop("options") is None
    assert with_it == without
    assert list(with_it) == ["main", "thread", "forked", "spawned"]
    assert options in (None, "") or with_it["main"]["options"] == options


@pytest.mark.parametrize("name", ["pre load.cjs", 'a"b\\c.cjs', "$x'*.cjs"])
@pytest.mark.parametrize("options", [None, "--no-warnings"])
def test_any_path_is_taken_out(primary, tmp_path, name, options):
    copy = tmp_path / name
    shutil.copy(PRELOAD, copy)
    run = primary("preload_seen.js", options=options, preload=copy)
    assert {who["options"] for who in seen(run).values()} == {options}
    assert run.find("says NODE_UMBEL_PRELOAD")


def test_a_link_is_taken_out(primary, tmp_path):
    link = tmp_path / "link.cjs"
    link.symlink_to(PRELOAD)
    assert {who["options"] for who in seen(primary("preload_seen.js", preload=link)).values()} == {None}


def test_others_of_the_user_stay(primary, tmp_path):
    """The user's own preload, even with our name, and another option behind ours."""
    own = tmp_path / "preload.cjs"
    own.write_text("")
    options = f'--require "{own}"'
    run = primary("preload_seen.js", options=options)
    assert {who["options"] for who in seen(run).values()} == {options}


def test_is_said_once_and_before_the_program(primary):
    run = primary("preload_app.js", "http", 0)
    run.port()
    assert [m.string for m in run.find("^(says|listens)")][0] == "says NODE_UMBEL_PRELOAD"
    assert len(run.find("says NODE_UMBEL_PRELOAD")) == 1


def test_without_a_primary_it_is_silent(environment, tmp_path):
    """Neither a plain process nor one forked without cluster is a worker."""
    script = tmp_path / "fork.js"
    script.write_text("""
        const child = require('child_process').fork(__dirname + '/child.js', {
            env: { ...process.env, NODE_OPTIONS: process.argv[2] } });
        child.on('internalMessage', (m) => console.log('internal', m));
        child.on('exit', (code) => console.log(process.env.NODE_OPTIONS, code));""")
    (tmp_path / "child.js").write_text("console.log(process.env.NODE_OPTIONS, process.connected)")
    options = f'--require "{PRELOAD}"'
    out = subprocess.run([NODE, script, options], env={**environment, "NODE_OPTIONS": options},
                         capture_output=True, text=True, timeout=30 * SLOW, check=True)
    assert (out.stdout, out.stderr) == ("undefined true\nundefined 0\n", "")


# ---- it does not keep a process alive ----


def test_a_program_without_work_ends(primary, tmp_path):
    script = tmp_path / "nothing.js"
    script.write_text("process.disconnect()")
    run = primary(script)
    assert run.wait_for(r"^exit (\S+)")[1] == "0"
    assert run.find("says NODE_UMBEL_PRELOAD")


@pytest.mark.parametrize("app", ["app.js", "module.mjs"])
def test_a_drained_server_ends(primary, app):
    """Without a word of its own to the channel, and as a module."""
    run = primary(app, 0)
    port = run.port()
    run.send(signal.SIGUSR2)
    run.wait_for("says NODE_UMBEL_DRAINED")
    with connect(port) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert is_marked(answer(s)[0])
        assert s.recv(1) == b""
    assert run.leave() == "0"


def test_nothing_ends_a_server_that_drains(primary):
    """It serves on, also what comes after, and says so only once."""
    run = primary("preload_app.js", "http", 0)
    port = run.port()
    for _ in range(3):
        run.drain()
        assert run.is_drained() == 1
        with connect(port) as s:
            headers, body = ask(s)
            assert is_marked(headers) and body == b"ok"
            assert s.recv(1) == b""
    assert run.is_drained() == 1


# ---- connections ----


def test_nothing_is_marked_before(primary):
    run = primary("preload_app.js", "http", 0)
    with connect(run.port()) as s:
        for _ in range(5):
            assert not is_marked(ask(s)[0])


@pytest.mark.parametrize("kind", ["http", "unix", "https", "http2s"])
def test_a_kept_connection_ends_with_its_next_response(primary, certificate, tmp_path, kind):
    unix = str(tmp_path / "socket")
    tls = certificate if kind in ("https", "http2s") else ()
    run = primary("preload_app.js", "http" if kind == "unix" else kind,
                  unix if kind == "unix" else 0, *tls)
    where = run.wait_for(r"^listens on (\S+)")[1] if kind == "unix" else run.port()
    with (secured(where, certificate) if tls else connect(where)) as s:
        assert not is_marked(ask(s)[0])
        run.drain()
        assert not run.is_drained()
        headers, body = ask(s)
        assert is_marked(headers) and body == b"ok"
        assert s.recv(1) == b""  # an end, no reset
    run.wait_for("says NODE_UMBEL_DRAINED")
    assert run.leave() == "0"


@pytest.mark.parametrize("kind", ["http", "https"])
@pytest.mark.parametrize("path", [b"/", b"/proxy"])
def test_a_response_in_progress_is_marked(primary, certificate, kind, path):
    """Also if the program says keep-alive itself."""
    run = primary("preload_app.js", kind, 0, *(certificate if kind == "https" else ()))
    port = run.port()
    with (secured(port, certificate) if kind == "https" else connect(port)) as s:
        s.sendall(POST % path + b"h")
        run.wait_for("^request")
        run.drain()
        s.sendall(b"i")
        headers, body = answer(s)
        assert is_marked(headers) and body == b"ok"
        assert s.recv(1) == b""
    run.wait_for("says NODE_UMBEL_DRAINED")


def test_a_response_that_says_keep_alive_is_marked(primary):
    run = primary("preload_app.js", "http", 0)
    with connect(run.port()) as s:
        assert ask(s, b"/proxy")[0]["Connection"] == "Keep-Alive"
        run.drain()
        headers, body = ask(s, b"/proxy")
        assert is_marked(headers) and body == b"ok"
        assert s.recv(1) == b""


def test_a_response_that_has_begun_is_whole(primary):
    """It has said keep-alive already, so the connection lives until the next one."""
    run = primary("preload_app.js", "http", 0)
    with connect(run.port()) as s:
        s.sendall(POST % b"/begun" + b"h")
        response = http.client.HTTPResponse(s)
        response.begin()
        run.drain()
        s.sendall(b"i")
        assert not is_marked(response.headers) and response.read() == b"ok"
        assert not run.is_drained()
        assert is_marked(ask(s)[0])
        assert s.recv(1) == b""
    run.wait_for("says NODE_UMBEL_DRAINED")


def test_drained_comes_after_the_last(primary):
    run = primary("preload_app.js", "http", 0)
    port = run.port()
    first, second = connect(port), connect(port)
    ask(first), ask(second)
    run.drain()
    third = connect(port)
    third.sendall(POST % b"/" + b"h")
    run.wait_for("^request", count=3)
    for s in (first, second):
        assert is_marked(ask(s)[0])
        s.close()
    run.drain()  # the worker has been round
    assert not run.is_drained()
    third.close()  # in the middle of a request
    run.wait_for("says NODE_UMBEL_DRAINED")


def test_others_are_waited_for(primary):
    """A plain connection cannot be marked; it is counted."""
    run = primary("preload_app.js", "net", 0)
    with connect(run.port()) as s:
        run.wait_for("^connected")
        run.drain()
        s.sendall(b"still there")
        assert s.recv(100) == b"still there"
        assert not run.is_drained()
    run.wait_for("says NODE_UMBEL_DRAINED")
    assert run.leave() == "0"


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_websocket_is_waited_for(primary, when):
    run = primary("preload_app.js", "http", 0)
    port = run.port()
    if when == "during":
        run.drain()
        assert run.is_drained() == 1
    with connect(port) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 101")
        run.wait_for("^connected")
        run.drain()
        s.sendall(b"frame")
        assert s.recv(100) == b"frame"
        assert run.is_drained() == (when == "during")
    run.wait_for("says NODE_UMBEL_DRAINED")


@pytest.mark.parametrize("kind", ["http2", "http2s"])
def test_an_http2_session_ends_with_its_next_stream(primary, certificate, environment, kind):
    scheme = "https" if kind == "http2s" else "http"
    run = primary("preload_app.js", kind, 0, *(certificate if kind == "http2s" else ()))
    argv = [NODE, "preload_http2_client.js", f"{scheme}://127.0.0.1:{run.port()}"]
    with subprocess.Popen(argv, cwd=PROGRAMS, env=environment, text=True, bufsize=1,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        try:
            print("first", file=client.stdin)
            assert client.stdout.readline() == "answer ok\n"
            run.drain()
            assert not run.is_drained()
            print("second", file=client.stdin)
            rest = client.stdout.read().splitlines()
        finally:
            client.kill()
    assert set(rest) == {"answer ok", "goaway 0", "closed"}
    run.wait_for("says NODE_UMBEL_DRAINED")
    assert run.leave() == "0"


def test_many_kept_connections_end_clean(primary):
    run = primary("preload_app.js", "http", 0)
    port = run.port()
    sockets = [connect(port) for _ in range(200)]
    for s in sockets:
        assert not is_marked(ask(s)[0])
    run.drain()
    for s in sockets:
        assert is_marked(ask(s)[0])
        assert s.recv(1) == b""
        s.close()
    run.wait_for("says NODE_UMBEL_DRAINED")
    assert run.is_drained() == 1
    assert run.leave() == "0"
