"""The torture runs (tests/torture), each for some seconds; `make torture` runs them in full."""
import os
import signal
import subprocess

import pytest
from harness import ROOT, SLOW

RUN = ROOT / "tests" / "torture" / "run"


@pytest.mark.deadline(120)
@pytest.mark.parametrize("scenario", [
    "reloads", "kills", "kills-least", "kills-sticky", "kills-spread", "rolling", "growing", "handshakes",
    "shares", "switching", "intercepted", "pid1", "random", "broken"])
def test_torture(scenario):
    with subprocess.Popen([RUN, "--quick", scenario], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, start_new_session=True) as run:
        try:
            said, _ = run.communicate(timeout=110 * SLOW)
        except BaseException:
            os.killpg(run.pid, signal.SIGKILL)  # clients and umbel run; the workers follow
            raise
    print(said)
    if f"{scenario}: SKIP" in said:
        pytest.skip(said.splitlines()[-1])
    assert run.returncode == 0, said
    assert f"{scenario}: PASS" in said
