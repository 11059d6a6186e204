"""A port that somebody else has: the operator is told who, where it can be seen."""
import os
import re
import socket
from pathlib import Path

import pytest
from harness import PROGRAMS
from intercepting import BINDINGS, app, home, needs_root, user  # noqa: F401
from test_intercept import has_ipv6

NAME = Path("/proc/self/comm").read_text().strip()
ME = rf": pid {os.getpid()} \({re.escape(NAME)}\) listens there"


@pytest.mark.parametrize("host, mode", [("0.0.0.0", "plain"), ("127.0.0.1", "plain"), ("::", "dual"), ("::1", "dual"),
                                        ("0.0.0.0", "dual")])
def test_met_at_bind(app, port, host, mode):
    """Said once by each worker, whatever of its address is in the way."""
    if ":" in host + mode.replace("dual", "::") and not has_ipv6():
        pytest.skip("no IPv6 here")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        run = app(BINDINGS, mode, port, workers=2, wait=False, options=["--max-failures", "1"])
        assert run.wait(60) == 1
    notes = run.find(rf"^umbel: slot \d: pid \d+ cannot bind tcp://\S+:{port}: Address already in use{ME}$")
    assert len(notes) == 2, run.output()


def test_who_is_only_bound(app, port):
    """Nothing tells whose that is."""
    with socket.socket() as s:
        s.bind(("0.0.0.0", port))
        run = app(BINDINGS, "plain", port, workers=1, wait=False, options=["--max-failures", "1"])
        assert run.wait(60) == 1
    run.wait_for(rf"cannot bind tcp://0.0.0.0:{port}: Address already in use$")


@needs_root
@pytest.mark.parametrize("user", ["nobody"], indirect=True)
def test_who_cannot_be_seen(app, port):
    """Another user's process: that much is said."""
    with socket.create_server(("0.0.0.0", port)):
        run = app(BINDINGS, "plain", port, workers=1, wait=False, options=["--max-failures", "1"])
        assert run.wait(60) == 1
    run.wait_for("Address already in use: a process of user 0 listens there$")


def test_asked_for_on_the_channel(umbel, port):
    with socket.create_server(("0.0.0.0", port)):
        run = umbel("-n", 1, "--name", "app", "--max-failures", "1", "--", "node", "plain/server.js", port)
        assert run.wait(60) == 1
    run.wait_for(rf"cannot listen on tcp://\S*:{port}: Address already in use{ME}")


def test_offered(umbel, port):
    with socket.create_server(("0.0.0.0", port)):
        run = umbel("-n", 1, "--name", "app", "--share", "listen-fds", "--listen", f"tcp://0.0.0.0:{port}",
                    "--max-failures", "1", "--", "python3", PROGRAMS / "listen_fds.py")
        assert run.wait(60) == 1
    run.wait_for(rf"cannot listen on tcp://0.0.0.0:{port}: Address already in use{ME}")
