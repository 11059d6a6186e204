import contextlib
import os
import random
import secrets
import signal
import socket
import subprocess

import pytest

pytest.register_assert_rewrite("harness", "contract")

from harness import PROGRAMS, SLOW, UMBEL, Run, processes  # noqa: E402

# Below those that the kernel gives to clients; who takes one may use the next three, too.
PORTS = range(10000, 30000, 4)


def pytest_configure(config):
    config.addinivalue_line("markers", "deadline(seconds): how long a test may take (default 60)")


@pytest.fixture(autouse=True)
def deadline(request):
    mark = request.node.get_closest_marker("deadline")
    seconds = (mark.args[0] if mark else 60) * SLOW

    def over(*_):
        pytest.fail(f"not over after {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def free_port():
    """A port nobody has. An abstract name keeps it from other tests of this machine, whoever runs them: between
    two servers of a test it is free."""
    while True:
        number = random.SystemRandom().choice(PORTS)
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0umbel-test-port-{number}")
                for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                    with socket.socket(family) as s:
                        if family == socket.AF_INET6:
                            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                        s.bind((host, number))
            except OSError:
                continue
            yield number
            return


@pytest.fixture
def port():
    with free_port() as number:
        yield number


@pytest.fixture
def other_port():
    with free_port() as number:
        yield number


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def token():
    return secrets.token_hex(8)


@pytest.fixture
def environment(home, token):
    """What every umbel of a test gets."""
    return {**os.environ, "UMBEL_HOME": str(home), "UMBEL_TEST": token, "UMBEL_DEBUG_FDS": "1"}


@pytest.fixture
def umbel(environment, home, token):
    """umbel("-n", 2, "--", "node", "app.js", port) starts `umbel run` with these arguments, in the
    programs' directory. Keywords: tty, before (words in front of the command), or Popen's."""
    runs = []

    def start(*args, before=(), **popen):
        popen.setdefault("cwd", PROGRAMS)
        argv = [*before, UMBEL, "run", "--env", f"UMBEL_TEST={token}", *args]
        run = Run([str(word) for word in argv], environment, home, token, **popen)
        runs.append(run)
        return run

    yield start
    failures = []
    for run in reversed(runs):
        try:
            run.end()
        except Exception as failure:  # the others are to be ended too
            failures.append(failure)
    left = processes(token)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    if failures:
        raise failures[0]
    assert not left, "processes are left"
    for run in runs:
        run.check()


@pytest.fixture(scope="session")
def packages():
    """Express and Koa, as the lock file says."""
    wanted, have = PROGRAMS / "package-lock.json", PROGRAMS / "node_modules/.package-lock.json"
    if not have.exists() or have.stat().st_mtime < wanted.stat().st_mtime:
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=PROGRAMS, check=True, timeout=300)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(key, certificate) for localhost, files."""
    path = tmp_path_factory.mktemp("tls")
    key, cert = path / "key.pem", path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return key, cert
