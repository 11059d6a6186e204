"""Node programs without a changed line: each serves, and each worker gets its half."""
import hashlib
import json
import os
import re
import socket
import ssl
import urllib.request

import pytest
from harness import PROGRAMS, get, is_refused, processes, who
from http.client import HTTPConnection

APPS = ["app.js", "tutorial.js", "module.mjs", "express_app.js", "koa_app.js"]


@pytest.mark.parametrize("app", APPS)
def test_serves(umbel, port, packages, app):
    run = umbel("-n", 2, "--", "node", app, port)
    pids = run.wait_listening(2)
    assert who(port, 200) == {pids[1]: 100, pids[2]: 100}
    assert run.stop() == 0
    assert is_refused(port)
    name = app.rpartition(".")[0]
    assert run.output("stdout")[0] == f"umbel: {name}: 2 workers: node {app} {port}"


def test_serves_a_script_that_names_node(umbel, port):
    run = umbel("-n", 2, "./script", port)
    pids = run.wait_listening(2)
    assert who(port, 20) == {pids[1]: 10, pids[2]: 10}


def test_serves_tls(umbel, port, certificate):
    key, cert = certificate
    run = umbel("-n", 2, "--", "node", "tls.js", port, key, cert)
    pids = run.wait_listening(2)
    context = ssl.create_default_context(cafile=cert)
    seen = [int(urllib.request.urlopen(f"https://localhost:{port}/", context=context).read())
            for _ in range(20)]
    assert {pid: seen.count(pid) for pid in seen} == {pids[1]: 10, pids[2]: 10}


def test_events_are_what_happens(umbel, port):
    run = umbel("--name", "shop", "-n", 2, "--", "node", "app.js", port)
    pids = run.wait_listening(2)
    assert run.stop() == 0
    out = run.output("stdout")
    assert out[0] == f"umbel: shop: 2 workers: node app.js {port}"
    for slot, pid in pids.items():
        who = f"umbel: slot {slot} pid {pid}"
        assert out.count(f"{who} started") == 1
        assert any(re.fullmatch(rf"{who} listens on tcp://(\[::\]|0\.0\.0\.0):{port}", line)
                   for line in out)
        assert any(re.fullmatch(rf"{who} left after \d+\.\d s", line) for line in out)
    assert out.index("umbel: stopping 2 workers") < out.index("umbel: stopped") == len(out) - 1
    assert [line for line in run.output("stderr") if "descriptors:" not in line] == []


def test_nothing_is_forked_twice(umbel, port, token):
    run = umbel("-n", 2, "--", "node", "tutorial.js", port)
    pids = run.wait_listening(2)
    assert who(port, 20) == {pids[1]: 10, pids[2]: 10}
    assert set(processes(token)) == {run.pid, *pids.values()}
    assert not run.find("(?i)master")
    for slot, pid in pids.items():
        run.wait_for(rf"^\[{slot}\] Worker {pid} started$")


def test_a_worker_knows_that_it_is_one(umbel, port):
    run = umbel("-n", 2, "--", "node", "tutorial.js", port)
    run.wait_listening(2)
    answers = [json.loads(get(port, "/who")) for _ in range(2)]
    assert sorted(a.pop("id") for a in answers) == [1, 2]
    for answer in answers:
        assert answer == {"isMaster": False, "isPrimary": False, "isWorker": True,
                          "connected": True}


def test_listen_on_0_is_one_port_for_all(umbel):
    run = umbel("-n", 2, "--", "node", "app.js", 0)
    pids = run.wait_listening(2)
    ports = {int(m[3].rpartition(":")[2]) for m in run.find(r"pid (\d+) (listens) on (\S+)")}
    assert len(ports) == 1
    port = ports.pop()
    assert port > 0
    assert who(port, 20) == {pids[1]: 10, pids[2]: 10}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_listens_where_it_is_told(umbel, port, host):
    run = umbel("-n", 2, "--", "node", "app.js", port, host)
    run.wait_listening(2)
    assert run.address() in (f"tcp://127.0.0.1:{port}", f"tcp://[::1]:{port}")
    answer = urllib.request.urlopen(f"http://{host}:{port}/").read()
    assert int(answer) in run.slots().values()


@pytest.mark.parametrize("relative", [False, True])
def test_unix_socket(umbel, tmp_path, relative):
    path = tmp_path / "app.sock"
    run = umbel("-n", 2, "--", "node", PROGRAMS / "app.js", path.name if relative else path,
                cwd=tmp_path)
    pids = run.wait_listening(2)
    assert run.address() == f"unix://{path}"
    seen = []
    for _ in range(20):
        connection = HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        connection.request("GET", "/", headers={"Connection": "close"})
        seen.append(int(connection.getresponse().read()))
    assert {pid: seen.count(pid) for pid in seen} == {pids[1]: 10, pids[2]: 10}
    assert run.stop() == 0
    assert not path.exists()


def test_uploads_and_downloads_are_whole(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    run.wait_listening(2)
    data = os.urandom(5 << 20)
    for _ in range(4):
        assert get(port, "/hash", "POST", data).decode() == hashlib.sha256(data).hexdigest()
        assert get(port, f"/big?bytes={5 << 20}") == (b"umbel" * (1 << 20))


def test_many_connections_at_once(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    run.wait_listening(2)
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(400)]
    for s in sockets:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    for s in sockets:
        s.settimeout(20)
        answer = b""
        while chunk := s.recv(4096):
            answer += chunk
        assert answer.startswith(b"HTTP/1.1 200")
        s.close()
