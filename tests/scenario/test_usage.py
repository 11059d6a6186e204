"""Bad input: one line saying what and why, the right exit status, nothing left behind."""
import os
import shutil
import socket
from pathlib import Path

import pytest
from harness import get

SERVE = ("--", "node", "app.js", "0")

BAD = [
    ((), "program"),
    (("-n", "2"), "program"),
    (("-n", "2", "--"), "program"),
    (("--nonsense", *SERVE), "--nonsense"),
    (("-x", *SERVE), "x"),
    (("-n",), "-n"),
    (("-n", "three", *SERVE), "three"),
    (("-n", "2x", *SERVE), "2x"),
    (("-n", "1.5", *SERVE), "1.5"),
    (("-n", "", *SERVE), "-n"),
    (("-n", "99999999999999999999", *SERVE), "99999999999999999999"),
    (("-n", "4294967297", *SERVE), "4294967297"),
    (("-n", "1025", *SERVE), "1025"),
    (("--share", "bread", *SERVE), "it must be auto, node, channel, intercept, listen-fds or none"),
    *((("--share", share, "--policy", policy, *SERVE), f"--policy is {policy}: workers with --share {share}")
      for share in ("intercept", "listen-fds") for policy in ("rr", "least")),
    (("--share", "intercept", "--max-connections", "5", *SERVE), "--max-connections: workers with --share"),
    (("--share", "intercept", "--recycle-connections", "5", *SERVE), "--recycle-connections: workers with --share"),
    (("--no-share", "8000", *SERVE), "--no-share 8000: an address begins with"),
    (("--no-share", "tcp://name:80", *SERVE), "--no-share tcp://name:80: "),
    (("--spares", "65", *SERVE), "--spares 65: it must be a number, at most 64"),
    (("--spares", "-1", *SERVE), "--spares -1"),
    (("--spares", "x", *SERVE), "--spares x"),
    (("--ready-cmd", "", *SERVE), "--ready-cmd: it must be a command"),
    *((("--ready-url", url, *SERVE), f"--ready-url {url}: ")
      for url in ("", "https://localhost/", "localhost:8000", "http://", "http:///health", "HTTP", "ftp://x/",
                  "http://user@localhost/", "http://127.0.0.1:99999/", "http://[::1/")),
    (("--ready-url", "http://127.0.0.1:80/a b", *SERVE), "--ready-url http://127.0.0.1:80/a: a url has no blanks"),
    (("--ready-after", "soon", *SERVE), "--ready-after soon"),
    (("--linger", "-1s", *SERVE), "--linger -1s"),
    (("--grace", "soon", *SERVE), "soon"),
    (("--grace", "-1s", *SERVE), "-1s"),
    (("--env", "NOVALUE", *SERVE), "NOVALUE"),
    (("--env", "=x", *SERVE), "=x"),
    (("--name", "../up", *SERVE), "../up"),
    (("--name", "", *SERVE), "name"),
    (("--name", ".hidden", *SERVE), ".hidden"),
    (("--name", "x" * 65, *SERVE), "name"),
    (("--", "no-such-program-anywhere"), "no-such-program-anywhere"),
    (("--", "/no/such/program"), "/no/such/program"),
    (("--", "./package.json"), "package.json"),
    (("--", "/tmp"), "/tmp"),
]


def check_refused(run, word):
    assert run.wait(5) == 2
    assert run.output("stdout") == []
    errors = [line for line in run.output("stderr") if "descriptors:" not in line]
    assert len(errors) == 1, errors
    assert errors[0].startswith("umbel: ")
    assert word in errors[0]


@pytest.mark.parametrize("arguments, word", BAD, ids=[" ".join(words)[:40] or "nothing" for words, _ in BAD])
def test_refused(umbel, arguments, word):
    check_refused(umbel(*arguments), word)


def test_an_interpreter_that_is_not_there(umbel, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    run = umbel("-n", 2, "--", script)
    assert run.wait() in (1, 2)
    assert run.find(r"^umbel: .*(/no/such/interpreter|script)", "stderr")


def test_a_name_that_runs_already(umbel, port):
    first = umbel("-n", 1, "--", "node", "app.js", port)
    pids = first.wait_listening(1)
    check_refused(umbel("-n", 1, "--", "node", "app.js", port + 1), "--name")
    assert first.slots() == pids
    assert int(get(port)) == pids[1]
    other = umbel("--name", "other", "-n", 1, "--", "node", "app.js", 0)
    other.wait_listening(1)


@pytest.mark.parametrize("family, host", [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")])
def test_a_port_in_use(umbel, port, family, host):
    with socket.socket(family) as taken:
        taken.bind((host, port))
        taken.listen()
        run = umbel("-n", 2, "--", "node", "app.js", port)
        assert run.wait() == 1
    assert run.find(rf"^umbel: slot \d pid \d+: cannot listen on tcp://(\S*):{port}: "
                    rf"Address already in use: pid {os.getpid()} \(\S+\) listens there$", "stderr")
    assert not run.find("Assertion")


def test_an_address_that_is_not_ours(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port, "192.0.2.1")
    assert run.wait() == 1
    assert run.find(rf"cannot listen on tcp://192\.0\.2\.1:{port}: Cannot assign requested address",
                    "stderr")


def test_no_permission(umbel):
    floor = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if floor < 2:
        pytest.skip("every port is for everybody here")
    before = ["setpriv", "--bounding-set=-net_bind_service"] if os.geteuid() == 0 else []
    run = umbel("-n", 2, "--", "node", "app.js", 1, before=before)
    assert run.wait() == 1
    assert run.find(r"cannot listen on tcp://\S*:1: Permission denied$", "stderr")


def test_a_unix_path_that_is_taken_by_a_file(umbel, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    run = umbel("-n", 1, "--", "node", "app.js", path)
    assert run.wait() == 1
    assert run.find(f"cannot listen on unix://{path}: Address already in use", "stderr")
    assert path.read_text() == "data"


def count_of(run):
    return int(run.wait_for(r"^umbel: \w+: (\d+) workers?: ")[1])


def test_counts(umbel):
    cpus = count_of(umbel("--name", "a", "-n", "max", "--", "node", "timers.js"))
    assert 1 <= cpus <= len(os.sched_getaffinity(0))
    assert count_of(umbel("--name", "b", "-n", "0", "--", "node", "timers.js")) == cpus
    assert count_of(umbel("--name", "c", "-n", "-1", "--", "node", "timers.js")) == max(1, cpus - 1)
    assert count_of(umbel("--name", "d", "--", "node", "timers.js")) == cpus


def test_max_knows_affinity(umbel):
    cpu = min(os.sched_getaffinity(0))
    assert shutil.which("taskset")
    run = umbel("-n", "max", "--", "node", "timers.js", before=["taskset", "-c", cpu])
    assert count_of(run) == 1
