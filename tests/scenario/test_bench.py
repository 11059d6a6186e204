"""`make bench` and `make bench-reload` work: every row has figures. Which figures is not a matter for a test,
except that no request fails in a reload."""
import re
import subprocess
import sys

import pytest

from harness import BUILD, ROOT, SLOW, processes

RUN = ROOT / "bench" / "run.py"
FIGURE = r"([\d,]+(?:\.\d+)?)(?: (?:ns|us|ms|x|/s|B/s|%))?"
LINE = re.compile(rf"^(?P<name>\S.* : \S.*?)  +{FIGURE} +{FIGURE} +(\d+\.\d+)(?: |$)")

# How many lines each row has, two of policies-c without nginx.
ROWS = {"handoff-c": 3, "handoff-node": 2, "syscalls": 2, "burn": 3, "tutorial": 4, "messages": 1,
        "policies-c": 7, "policies-node": 11, "steering": 2, "syscalls-steered": 2,
        "filter": 1, "syscalls-intercepted": 4, "slow": 2, "crash": 9}


def bench(environment, *args):
    done = subprocess.run([sys.executable, RUN, *args], capture_output=True, text=True,
                          env=environment | {"UMBEL_BUILD": str(BUILD)}, timeout=240 * SLOW)
    print(done.stdout, done.stderr)
    return done


@pytest.mark.deadline(250)
@pytest.mark.parametrize("row", ROWS)
def test_a_quick_run_has_figures(environment, token, row):
    done = bench(environment, "--quick", row)
    if "strace: " in done.stdout and "not permitted" in done.stdout:
        pytest.skip("strace may not attach here")
    if "no filter: " in done.stdout:
        pytest.skip("no seccomp filter may be loaded here")
    assert done.returncode == 0
    lines = [m for line in done.stdout.splitlines() if (m := LINE.match(line))]
    assert len(lines) == ROWS[row] - 2 * ("nginx is not here" in done.stdout)
    for line in lines:
        assert all(float(line[n].replace(",", "")) > 0 for n in (2, 3, 4)), line[0]
    assert not processes(token)


def test_an_unknown_row_is_refused(environment):
    done = bench(environment, "speed")
    assert done.returncode == 2
    assert "no row speed" in done.stderr


@pytest.mark.deadline(120)
def test_a_quick_run_of_reloads(environment, token):
    """umbel's own column: good code and a crash at boot, without a failed request."""
    done = subprocess.run([sys.executable, ROOT / "bench" / "reload.py", "--quick"],
                          capture_output=True, text=True, timeout=100 * SLOW,
                          env=environment | {"UMBEL_BUILD": str(BUILD)})
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert not processes(token)
