"""What the tests of intercepted programs share: who runs umbel, the C programs that know nothing of it, load by
ab, and who of the workers has connections."""
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from c_programs import TESTS
from control import status
from crowd import Crowd
from harness import SLOW, UMBEL, stat, wait_until

NOBODY = 65534
AS_NOBODY = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
USERS = ["root", "nobody"]
BINDINGS, BINDS, FORBID = TESTS / "bindings", TESTS / "binds", TESTS / "forbid"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")
each_user = pytest.mark.parametrize("user", USERS, indirect=True)


@pytest.fixture
def user(request):
    """Who runs umbel: whoever runs the tests, unless each_user says so."""
    wanted = getattr(request, "param", None)
    if wanted and os.geteuid() != 0:
        pytest.skip("only root may be somebody else")
    if wanted == "nobody":
        can = subprocess.run([*AS_NOBODY, UMBEL, "version"], cwd="/", capture_output=True)
        if can.returncode:
            pytest.skip(f"nobody may not run {UMBEL.name} where it is")
    return wanted


@pytest.fixture
def home(user, tmp_path):
    """UMBEL_HOME. What pytest makes is closed to others."""
    if user != "nobody":
        path = tmp_path / "home"
        path.mkdir(mode=0o700)
        yield path
        return
    path = Path(tempfile.mkdtemp(prefix="umbel-"))
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def app(umbel, user):
    """app(program, args..., workers=3, options=()) is `umbel run` of it, ready: (run, {slot: pid}). Its name is
    app. wait=False: only started."""
    def start(*command, workers=3, options=(), wait=True, before=(), **popen):
        before = [*(AS_NOBODY if user == "nobody" else []), *before]
        words = ["-n", workers, "--name", "app", "--soak", "100ms", *options, "--", *command]
        run = umbel(*words, before=before, **popen)
        return (run, ready(run, workers)) if wait else run

    return start


def ready(run, workers):
    """{slot: pid}, once all are."""
    pids = run.wait_listening(workers, 30)
    wait_until(lambda: all(w["state"] == "ready" for w in status(run)["workers"]), "ready workers")
    return pids


def answered_by(port, count=60, **how):
    """Counter of the pids of that many answers; none may fail."""
    with Crowd(port, **how) as crowd:
        crowd.go(count)
        assert not crowd.failures, crowd.failures[:3]
        return crowd.pids()


def ab(port, requests=2000, path="/", host="127.0.0.1", clients=32):
    """Load by ab, a connection for each request: all must have been answered with 200."""
    command = ["ab", "-q", "-l", "-c", clients, "-n", requests, f"http://{host}:{port}{path}"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120 * SLOW)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert int(re.search(r"Complete requests: +(\d+)", text)[1]) == requests, text
    assert int(re.search(r"Failed requests: +(\d+)", text)[1]) == 0, text
    assert "Non-2xx" not in text, text


def sockets_with(port):
    """Links of /proc/PID/fd of the established connections with a local port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "01":
                found.add(f"socket:[{fields[9]}]")
    return found


def group_of(pid):
    """All processes of a worker: it leads a group."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(stat(entry)[2]) == pid:
                found.append(int(entry))
        except OSError:
            pass
    return found


def has_connection(pid, sockets):
    for member in group_of(pid):
        try:
            links = [os.readlink(f"/proc/{member}/fd/{fd}") for fd in os.listdir(f"/proc/{member}/fd")]
        except OSError:  # it ends, or closes one
            continue
        if sockets.intersection(links):
            return True
    return False


def check_all_used(port, pids, count=48):
    """Clients that connect and say nothing: each worker accepts some of them."""
    clients = [socket.create_connection(("127.0.0.1", port), 20 * SLOW) for _ in range(count)]
    try:
        wait_until(lambda: (s := sockets_with(port)) and all(has_connection(p, s) for p in pids), "all to be used",
                   15)
    finally:
        for client in clients:
            client.close()


def in_call(pid, number):
    """Whether it is inside a system call of that number."""
    try:
        return Path(f"/proc/{pid}/syscall").read_text().split()[0] == str(number)
    except PermissionError:
        pytest.skip("nobody may see here what another process does")
    except OSError:
        return False


def is_zombie(pid):
    try:
        return stat(pid)[0] == "Z"
    except OSError:
        return True
